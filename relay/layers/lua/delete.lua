-- Gives whether the session existed; the memo holds what an earlier attempt gave.
if call('GET', memo) then
  return 1
end
if not exists() then
  return 0
end
local running = call('HGET', session, 'running')
if running ~= '' then
  call('SET', deleted, running, 'PX', WORK_TTL) -- its owner must not take this for a loss, and begin it anew
end
erase()
call('SET', memo, 1, 'PX', MEMO_TTL)
announce('!deleted\n')
return 1
