-- KEYS: 1 the thing. Returns the purpose of its use, as long as that counts; false: it is not used.
local used = call('HMGET', KEYS[1], 'until', 'for')
if used[1] and tonumber(used[1]) > now then
  return used[2] or ''
end
return false
