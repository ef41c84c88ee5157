-- The first part of every script that needs the time. ARGV: 1 the time in seconds (empty: the server's).
local call = redis.call
local now = tonumber(ARGV[1])
if not now then
  local time = call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
