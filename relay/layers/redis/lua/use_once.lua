-- KEYS: 1 the thing. ARGV: 2 seconds, 3 call id, 4 purpose. Gives whether this call is the first use.
local used = call('HMGET', KEYS[1], 'until', 'by')
if used[1] and tonumber(used[1]) > now then
  return used[2] == ARGV[3] and 1 or 0
end
call('HSET', KEYS[1], 'until', now + ARGV[2], 'by', ARGV[3], 'for', ARGV[4])
call('PEXPIRE', KEYS[1], math.ceil(ARGV[2] * 1000) + 1000)
return 1
