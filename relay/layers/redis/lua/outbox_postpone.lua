-- KEYS: 1 when each is due, 2 the notifications. ARGV: 2 name, 3 seconds.
if not call('HGET', KEYS[2], ARGV[2]) then
  return 0 -- removed meanwhile
end
call('ZADD', KEYS[1], now + ARGV[3], ARGV[2])
for _, key in ipairs(KEYS) do
  call('PEXPIRE', key, 86400000)
end
return 1
