-- ARGV: 3 claim id, 4 the kind of a user_message frame.
-- Gives turn id, body, subject, abandoned, cancelled, append number, offset of the first frame (0: no new one), epoch,
-- seconds in the queue, traceparent, the session's owner (empty: none), the questions that it answers, the frames that
-- say so, the agent's position behind the newest append of an abandoned turn (empty: not known), and the seconds from
-- its first claim to the one that took it over.
local claim_id = ARGV[3]
if not exists() then
  return false
end
local fields = call('HMGET', session, 'running', 'lease', 'until', 'epoch', 'newest', 'bytes', 'touched')
local turn_id, first = fields[1], 0
local turn
if turn_id == '' then
  if fields[2] == claim_id then
    return false -- a late repetition: this claim's turn is over
  end
  turn_id = call('LINDEX', queue, 0)
  if not turn_id then
    call('ZREM', work, session_id)
    return false
  end
  turn = turn_named(turn_id)
  turn.status = 'running'
  turn.waited = now - (turn.queued_at or now)
  keep(turn_id, turn) -- the first write: a full store refuses it, so no turn starts that could not be stored
  call('LPOP', queue)
  start_turn(turn_id, fields[5])
  turn.resolved = not turn.cancelled and turn.resolved or {}
  local newest, bytes = write(fields[4], tonumber(fields[5]), tonumber(fields[6]), turn_id,
    {ARGV[4] .. turn_id .. '\n\n' .. turn.body, unpack(turn.resolved)})
  call('HSET', session, 'running', turn_id, 'lease', claim_id, 'number', 0, 'newest', newest,
    'bytes', bytes, 'abandoned', 0, 'cancelled', turn.cancelled and '1' or '0')
  first = newest - #turn.resolved
else
  turn = turn_named(turn_id)
  if fields[2] ~= claim_id then
    if tonumber(fields[3]) > now then
      return false
    end
    turn.ran = now - (turn.queued_at or now) - (turn.waited or 0)
    keep(turn_id, turn)
    call('HSET', session, 'lease', claim_id, 'abandoned', 1)
    announce('!cancel\n' .. fields[4] .. '\n' .. turn_id) -- its former worker, if alive, then checks its lease
  end
end
hold()
if now - tonumber(fields[7]) > 60 then -- else its message or the last worker has just done it
  settle()
end
local known = call('HMGET', session, 'abandoned', 'cancelled', 'number', 'owner', 'position')
local head, position = turn_id .. '\n' .. known[3] .. '\n', known[5] or ''
position = known[1] == '1' and string.sub(position, 1, #head) == head and string.sub(position, #head + 1) or ''
return {turn_id, turn.body, turn.subject, known[1], known[2], tonumber(known[3]), first, fields[4],
  tostring(turn.waited or 0), turn.traceparent or '', known[4], turn.asked or {}, turn.resolved or {}, position,
  tostring(turn.ran or 0)}
