-- KEYS: 1 session. Gives epoch and newest offset; nothing if it is not there.
return redis.call('HMGET', KEYS[1], 'epoch', 'newest')
