-- ARGV: 3 epoch of a new session, 4 viewer, 5 subject. Gives how many watch.
open()
if not admit(ARGV[5]) then
  return 'not_owner'
end
call('ZADD', viewers, now + VIEWER, ARGV[4])
settle()
return count_viewers()
