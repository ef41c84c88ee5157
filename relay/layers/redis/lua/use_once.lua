-- KEYS: 1 the thing. ARGV: 1 the moment, 2 seconds, 3 call id, 4 what for. Gives whether this call is the first use.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local used = redis.call('HMGET', KEYS[1], 'until', 'by')
if used[1] and tonumber(used[1]) > now then
  return used[2] == ARGV[3] and 1 or 0
end
redis.call('HSET', KEYS[1], 'until', now + ARGV[2], 'by', ARGV[3], 'for', ARGV[4])
redis.call('PEXPIRE', KEYS[1], math.ceil(ARGV[2] * 1000) + 1000)
return 1
