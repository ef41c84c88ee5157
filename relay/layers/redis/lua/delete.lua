-- Returns whether the session existed; the memo holds the result of an earlier attempt.
if call('GET', memo) then
  return 1
end
-- From the outbox (two keys more than other calls have), which keeps what a session that has expired left there.
local start_of_name = session_id .. '\n'
for _, name in ipairs(call('ZRANGE', KEYS[16], 0, -1)) do
  if string.sub(name, 1, #start_of_name) == start_of_name then
    call('ZREM', KEYS[16], name)
    call('HDEL', KEYS[17], name)
  end
end
if not exists() and not is_empty() then
  return 0
end
local epoch = call('HGET', session, 'epoch')
erase() -- first: a full store lets nothing be written before something is taken out
-- A running turn's worker must not take this for a loss of data and start the log again, nor a viewer for a gap.
call('ZADD', deleted, now, epoch)
call('ZREMRANGEBYSCORE', deleted, '-inf', now - TTL)
call('PEXPIRE', deleted, math.ceil(TTL * 1000))
call('SET', memo, 1, 'PX', MEMO_TTL)
announce('!deleted\n' .. epoch)
return 1
