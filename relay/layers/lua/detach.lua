-- ARGV: 3 viewer. Gives how many are left.
if not exists() then
  return 0
end
call('ZREM', viewers, ARGV[3])
local left = count_viewers()
settle()
return left
