-- KEYS: 1 the index of all sessions. ARGV: 1 the name before the first, 2 limit. Gives names, in order.
return redis.call('ZRANGEBYLEX', KEYS[1], '(' .. ARGV[1], '+', 'LIMIT', 0, ARGV[2])
