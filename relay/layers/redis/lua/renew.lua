-- ARGV: 3 turn id, 4 lease, 5 extend it (1), or only look.
local fields = call('HMGET', session, 'running', 'lease', 'cancelled')
if fields[1] ~= ARGV[3] or fields[2] ~= ARGV[4] then
  return 'lost'
end
if ARGV[5] == '1' then
  hold()
  settle()
end
return fields[3] == '1' and 'cancelled' or 'held'
