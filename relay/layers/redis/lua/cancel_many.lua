-- ARGV: 3 'queued' or 'unwatched'. Gives how many were cancelled; the memo holds the result of an earlier attempt.
local known = call('GET', memo)
if known then
  return tonumber(known)
end
local is_unwatched = ARGV[3] == 'unwatched'
if not exists() or (is_unwatched and count_viewers() > 0) then
  return 0
end
local found = call('LRANGE', queue, 0, -1)
local running = call('HGET', session, 'running')
if is_unwatched and running ~= '' then
  table.insert(found, 1, running)
end
local count = 0
for _, turn_id in ipairs(found) do
  local turn = turn_named(turn_id)
  if not (is_unwatched and turn.detached) and cancel_turn(turn_id, turn) then
    count = count + 1
  end
end
call('SET', memo, count, 'PX', MEMO_TTL)
return count
