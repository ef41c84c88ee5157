-- KEYS: 1 the index of work. ARGV: 2 limit. Sessions with work and no live lease, longest waiting first.
return call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[2])
