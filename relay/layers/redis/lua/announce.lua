-- KEYS: 1 a channel. ARGV: 1 the announcement.
redis.call('SPUBLISH', KEYS[1], sender() .. ARGV[1])
return 1
