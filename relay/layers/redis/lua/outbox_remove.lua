-- KEYS: 1 when each is due, 2 the notifications. ARGV: 1 name.
redis.call('ZREM', KEYS[1], ARGV[1])
return redis.call('HDEL', KEYS[2], ARGV[1])
