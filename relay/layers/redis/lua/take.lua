-- KEYS: 1 bucket, 2 memo. ARGV: 2 count, 3 seconds. Gives the seconds to wait, 0 if one was taken.
-- A bucket is kept as the moment at which it will be full again (the "generic cell rate algorithm").
if call('GET', KEYS[2]) then
  return '0'
end
local count, seconds = tonumber(ARGV[2]), tonumber(ARGV[3])
local full_at = math.max(tonumber(call('GET', KEYS[1]) or now), now) + seconds / count
local wait = full_at - now - seconds
if wait > 0.000001 then -- the server's clock counts microseconds
  return string.format('%.17g', wait)
end
call('SET', KEYS[1], string.format('%.17g', full_at), 'PX', math.ceil((full_at - now) * 1000) + 1000)
call('SET', KEYS[2], 1, 'PX', 60000)
return '0'
