-- ARGV: 3 turn id, 4 lease, 5 append number, 6 the terminal frame, 7 the one of a cancelled turn.
-- Gives frame, offset, epoch (or false).
local turn_id, lease = ARGV[3], ARGV[4]
local turn = exists() and turn_named(turn_id)
if not turn then
  return 'lost'
end
if turn.status == 'ended' then
  if turn.lease ~= lease then
    return 'lost'
  end
  return {turn.terminal, turn.offset, false}
end
local fields = call('HMGET', session, 'running', 'lease', 'cancelled', 'number')
if fields[1] ~= turn_id or fields[2] ~= lease or tonumber(ARGV[5]) > tonumber(fields[4]) then
  return 'lost'
end
local frame = fields[3] == '1' and ARGV[7] or ARGV[6]
local offset, epoch = end_turn(turn_id, turn, lease, frame)
return {frame, offset, epoch}
