-- ARGV: 3 viewer. Gives how many are left.
local has_started = exists()
if not has_started and not is_empty() then
  return 0
end
call('ZREM', viewers, ARGV[3])
local left = count_viewers()
if has_started or left > 0 then
  settle()
else
  erase()
end
return left
