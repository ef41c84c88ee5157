-- ARGV: 3 turn id, 4 lease, 5 append number, then frames. Gives number, last offset, epoch (false: a
-- repetition; perhaps other frames were stored the first time).
local turn_id = ARGV[3]
local fields = call('HMGET', session, 'running', 'lease', 'number', 'cancelled', 'epoch', 'newest', 'bytes', 'until')
if fields[1] ~= turn_id or fields[2] ~= ARGV[4] then
  return 'lost'
end
local number, known = tonumber(ARGV[5]), tonumber(fields[3])
if number > known then
  return 'lost'
end
local newest, epoch = tonumber(fields[6]), false -- while a turn runs, only its appends write to the log
if number == known then
  if fields[4] == '1' then
    return 'cancelled'
  end
  local frames = {}
  for i = 6, #ARGV do
    frames[i - 5] = ARGV[i]
  end
  local bytes
  epoch = fields[5]
  newest, bytes = write(epoch, newest, tonumber(fields[7]), turn_id, frames)
  known = known + 1
  call('HSET', session, 'number', known, 'newest', newest, 'bytes', bytes, 'until', now + LEASE, 'active', now
    --[[further fields]])
else
  call('HSET', session, 'until', now + LEASE)
end
if now + LEASE - tonumber(fields[8]) > 0.05 then -- the index may be a moment behind: a claim looks at the session
  call('ZADD', work, now + LEASE, session_id)
end
return {known, newest, epoch}
