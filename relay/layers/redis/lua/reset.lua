-- ARGV: 3 the new epoch, 4 turn id, 5 lease, 6 text so far, 7 the terminal frame, 8 subject,
-- 9 the epoch in which the turn started, 10 the session's owner then; of a call with a notification: 11 its text,
-- 12 (not used), 13 only if unwatched (1), 14 how many may be kept. Gives the same as finish.lua, and the log's epoch.
local turn_id, lease = ARGV[4], ARGV[5]
if call('ZSCORE', deleted, ARGV[9]) then
  return 'lost'
end
local has_started = exists()
local fields = call('HMGET', session, 'running', 'lease', 'newest', 'epoch')
local is_behind = fields[4] == ARGV[9] -- the same life of the log, but it has forgotten what came last
local turn = turn_named(turn_id)
if turn and turn.status == 'ended' then
  if turn.lease ~= lease then
    return 'lost'
  end
  return {turn.terminal, turn.offset, false, 0, call('LLEN', queue), fields[4]}
end
if has_started and fields[1] ~= '' and (fields[1] ~= turn_id or fields[2] ~= lease) then
  return 'lost'
end
if has_started and not turn and tonumber(fields[3]) > 0 and not is_behind then
  return 'lost' -- another turn has been written since
end
if not start(ARGV[10]) then
  return 'lost' -- its text belongs to another subject
end
if turn then
  call('LREM', queue, 1, turn_id) -- it has started, even where the store has forgotten that
else
  turn = {name = '', digest = '', subject = ARGV[8], detached = false, cancelled = false}
  keep(turn_id, turn)
  remember(turn_id)
end
call('DEL', log)
start_turn(turn_id, 0)
call('HSET', session, 'epoch', ARGV[3], 'newest', 0, 'bytes', 0)
if ARGV[6] ~= '' then
  call('SET', text, ARGV[6])
end
local offset, epoch, dropped = end_turn(turn_id, turn, lease, ARGV[7], ARGV[11], ARGV[13], ARGV[14])
return {ARGV[7], offset, epoch, dropped, call('LLEN', queue), epoch}
