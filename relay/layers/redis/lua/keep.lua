-- KEYS: a session, its viewers, the index of empty sessions. ARGV: 2 the session id, 3 viewer, 4 subject. Extends the
-- viewer's entry. Gives the epoch and the newest offset; or nothing, and nothing has happened, where attach does more.
local session, viewers, empties = KEYS[1], KEYS[2], KEYS[3]
local fields = call('HMGET', session, 'owner', 'touched', 'kept_until', 'epoch', 'newest')
local owner, touched, kept_until = fields[1], tonumber(fields[2] or 0), tonumber(fields[3] or 0)
if ARGV[4] ~= '' and ARGV[4] ~= owner then
  return false
end
if kept_until <= now and touched + math.min(3 * VIEWER, TTL / 2) <= now then
  return false -- it is gone, or attach renews its expiry
end
if tonumber(call('ZSCORE', viewers, ARGV[3]) or 0) <= now then
  return false
end
call('ZADD', viewers, now + VIEWER, ARGV[3])
if kept_until > 0 then -- it is empty: only its viewers keep it
  call('HSET', session, 'kept_until', now + VIEWER)
  call('ZADD', empties, now + VIEWER, ARGV[2])
  for _, key in ipairs(KEYS) do
    call('PEXPIRE', key, math.ceil(VIEWER * 1000) + 1000)
  end
end
return {fields[4], tonumber(fields[5] or 0)}
