-- ARGV: 3 epoch of a new session, 4 viewer, 5 subject. Gives how many watch.
if not open() then
  return 'no_room'
end
if not admit(ARGV[5]) then
  return 'not_owner'
end
call('ZADD', viewers, now + VIEWER, ARGV[4])
settle()
return count_viewers()
