-- ARGV: 3 turn id, 4 lease, 5 append number, 6 the terminal frame, 7 the one of a cancelled turn; of a call with a
-- notification: 8 its text, 9 the one of a cancelled turn, 10 only if unwatched (1), 11 how many may be kept.
-- Gives frame, offset, epoch (or false), whether the notification had no room (1), and how many messages wait.
local turn_id, lease = ARGV[3], ARGV[4]
local turn = exists() and turn_named(turn_id)
if not turn then
  return 'lost'
end
if turn.status == 'ended' then
  if turn.lease ~= lease then
    return 'lost'
  end
  return {turn.terminal, turn.offset, false, 0, call('LLEN', queue)}
end
local fields = call('HMGET', session, 'running', 'lease', 'cancelled', 'number')
if fields[1] ~= turn_id or fields[2] ~= lease or tonumber(ARGV[5]) > tonumber(fields[4]) then
  return 'lost'
end
local frame, notification = ARGV[6], ARGV[8]
if fields[3] == '1' then
  frame, notification = ARGV[7], ARGV[9]
end
local offset, epoch, dropped = end_turn(turn_id, turn, lease, frame, notification, ARGV[10], ARGV[11])
return {frame, offset, epoch, dropped, call('LLEN', queue)}
