-- Returns whether the session existed; the memo holds the result of an earlier attempt.
if call('GET', memo) then
  return 1
end
if not exists() and not is_empty() then
  return 0
end
local epoch = call('HGET', session, 'epoch')
local known = call('LRANGE', order, 0, -1)
erase() -- first: a full store lets nothing be written before something is taken out
-- A running turn's worker must not take this for a loss of data and start the log again, nor a viewer for a gap.
call('ZADD', deleted, now, epoch)
call('ZREMRANGEBYSCORE', deleted, '-inf', now - TTL)
call('PEXPIRE', deleted, math.ceil(TTL * 1000))
for first = 1, #known, 1000 do -- from the outbox: two keys more than other calls have
  call('ZREM', KEYS[16], unpack(known, first, math.min(first + 999, #known)))
  call('HDEL', KEYS[17], unpack(known, first, math.min(first + 999, #known)))
end
call('SET', memo, 1, 'PX', MEMO_TTL)
announce('!deleted\n' .. epoch)
return 1
