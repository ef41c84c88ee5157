-- ARGV: 3 epoch of a new session, 4 viewer, 5 subject (empty: none). Gives how many watch.
open()
if ARGV[5] ~= '' then
  local owner = call('HGET', session, 'owner')
  if owner == '' then
    call('HSET', session, 'owner', ARGV[5])
  elseif owner ~= ARGV[5] then
    return 'forbidden'
  end
end
call('ZADD', viewers, now + VIEWER, ARGV[4])
settle()
return count_viewers()
