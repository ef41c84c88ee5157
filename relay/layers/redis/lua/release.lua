-- ARGV: 3 turn id, 4 lease.
local fields = call('HMGET', session, 'running', 'lease')
if fields[1] ~= ARGV[3] or fields[2] ~= ARGV[4] then
  return 'lost'
end
call('HSET', session, 'until', now)
call('ZADD', work, now, session_id)
return 'released'
