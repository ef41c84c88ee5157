-- KEYS: 1 the index of work. ARGV: 1 the moment, 2 limit. Sessions with work and no live lease, longest waiting first.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])
