-- KEYS: 1 the thing. ARGV: 1 the moment. Gives what its use was for, as long as that counts; false: it is not used.
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local used = redis.call('HMGET', KEYS[1], 'until', 'for')
if used[1] and tonumber(used[1]) > now then
  return used[2] or ''
end
return false
