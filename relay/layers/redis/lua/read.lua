-- ARGV: 3 epoch of a new session, 4 and 5 the cursor, 6 limit, 7 subject. Gives frames, or what a snapshot needs.
if not open() then
  return 'no_room'
end
if not admit(ARGV[7]) then
  return 'not_owner'
end
local fields = call('HMGET', session, 'epoch', 'newest', 'turn', 'turn_after', 'terminal')
local newest, offset, limit = tonumber(fields[2]) or 0, tonumber(ARGV[5]), tonumber(ARGV[6]) -- 0: it is empty
local oldest = newest - call('LLEN', log) + 1
local reason
if fields[1] ~= ARGV[4] or offset > newest then
  reason = 'epoch_changed'
elseif offset < oldest - 1 then
  reason = 'trimmed'
end
if reason then
  local kept = call('LRANGE', log, math.max(0, (tonumber(fields[4]) or 0) - oldest + 1), -1)
  local was_deleted = call('ZSCORE', deleted, ARGV[4]) and 1 or 0
  local turn = fields[3] and turn_named(fields[3])
  return {reason, fields[1], newest, fields[3] or '', call('GET', text) or '', fields[5] or '', kept,
    turn and turn.body or '', was_deleted}
end
if limit < 1 then
  return {false, {}}
end
return {false, call('LRANGE', log, offset - oldest + 1, offset - oldest + limit)}
