-- Gives whether the session existed; the memo holds what an earlier attempt gave.
if call('GET', memo) then
  return 1
end
if not exists() then
  return 0
end
-- A running turn's owner must not take this for a loss and begin it anew; a viewer must not take it for a gap.
local fields = call('HMGET', session, 'running', 'epoch')
call('SET', deleted, fields[1] .. '\n' .. fields[2], 'PX', math.ceil(TTL * 1000))
erase()
call('SET', memo, 1, 'PX', MEMO_TTL)
announce('!deleted\n')
return 1
