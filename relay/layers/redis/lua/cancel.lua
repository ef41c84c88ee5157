-- ARGV: 3 turn id, or empty: the one in flight, else the queue's head, 4 subject. Gives turn id, status.
-- The memo holds which turn an earlier attempt of this call has chosen.
local turn_id = ARGV[3]
if turn_id == '' then
  turn_id = call('GET', memo) or ''
end
if not exists() and not is_empty() then
  return {turn_id, 'unknown'}
end
if not admit(ARGV[4]) then
  return 'not_owner'
end
if turn_id == '' then
  turn_id = call('HGET', session, 'running') or ''
  if turn_id == '' then
    turn_id = call('LINDEX', queue, 0) or ''
  end
  if turn_id ~= '' then
    call('SET', memo, turn_id, 'PX', MEMO_TTL)
  end
end
local turn = turn_named(turn_id)
if not turn then
  return {turn_id, 'unknown'}
end
if turn.status == 'ended' then
  return {turn_id, 'already_ended'}
end
cancel_turn(turn_id, turn)
return {turn_id, turn.status == 'running' and 'cancelling' or 'queued'}
