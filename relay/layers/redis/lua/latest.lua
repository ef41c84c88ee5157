-- KEYS: 1 an index by time. ARGV: 2 limit, 3 only what is still to come (1)? Gives names and times, the latest first.
local first = ARGV[3] == '1' and '(' .. now or '-inf'
return call('ZRANGE', KEYS[1], '+inf', first, 'BYSCORE', 'REV', 'LIMIT', 0, ARGV[2], 'WITHSCORES')
