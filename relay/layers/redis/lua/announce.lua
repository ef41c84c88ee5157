-- KEYS: 1 a channel. ARGV: 1 the announcement.
redis.call('PUBLISH', KEYS[1], ARGV[1])
return 1
