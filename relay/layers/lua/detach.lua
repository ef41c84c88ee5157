-- ARGV: 3 viewer. Gives how many are left.
if not exists() and not is_empty() then
  return 0
end
call('ZREM', viewers, ARGV[3])
local left = count_viewers()
if left == 0 and is_empty() then
  erase()
else
  settle()
end
return left
