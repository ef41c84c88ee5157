-- KEYS: those of a session that nobody can open, then of limits. Runs every command that the other scripts use, so that
-- a store, or a user's rights, that cannot carry a turn refuse this too. Leaves nothing behind.
local session, log, text, work, channel = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local queue, viewers = KEYS[7], KEYS[10]
local call = redis.call
call('SET', text, '', 'PX', 60000) -- first: a full store refuses this, and a refusal leaves no more than this
-- Commands that remove and read; the keys are still empty.
call('DEL', session, log, queue, viewers)
call('HDEL', session, 'a')
call('LPOP', log)
call('LREM', log, 1, 'a')
call('PEXPIRE', log, 1)
call('ZREM', work, '!')
call('ZREMRANGEBYSCORE', viewers, 0, 0)
call('GET', text)
call('HGET', session, 'a')
call('HMGET', session, 'a')
call('LINDEX', log, 0)
call('LLEN', log)
call('LPOS', log, 'a')
call('LRANGE', log, 0, 0)
call('ZCARD', viewers)
call('ZCOUNT', viewers, 0, 0)
call('ZRANGE', viewers, 0, 0)
call('ZRANGEBYLEX', viewers, '-', '+')
call('ZRANGEBYSCORE', viewers, 0, 0)
call('ZSCORE', viewers, 'a')
call('TIME')
-- Commands that write.
call('APPEND', text, '')
call('HSET', session, 'a', 0)
call('RPUSH', log, 'a')
call('LPUSH', queue, 'a')
call('ZADD', viewers, 0, 'a')
call('SPUBLISH', channel, sender())
call('DEL', session, log, text, queue, viewers)
return 1
