-- ARGV: 3 epoch of a new session, 4 may it be begun (1)? 5 subject.
if ARGV[4] == '1' then
  open()
elseif not exists() then
  return false
end
if not admit(ARGV[5]) then
  return 'not_owner'
end
local fields = call('HMGET', session, 'epoch', 'newest', 'running', 'turn_after', 'cancelled', 'active',
  'begun')
local newest = tonumber(fields[2])
local is_running = fields[3] ~= ''
return {fields[1], newest - call('LLEN', log) + 1, newest, fields[3], is_running and tonumber(fields[4]) or newest,
  is_running and fields[5] or '0', call('LRANGE', queue, 0, -1), count_viewers(),
  string.format('%.6f', now - tonumber(fields[6])), string.format('%.6f', now - tonumber(fields[7]))}
