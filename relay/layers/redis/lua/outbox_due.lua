-- KEYS: 1 when each is due, 2 the notifications. ARGV: 2 limit, 3 seconds ahead. Gives how many are
-- kept, and the moments at which some are due, the first one first.
local moments = {}
local due = call('ZRANGEBYSCORE', KEYS[1], '-inf', now + ARGV[3], 'WITHSCORES', 'LIMIT', 0, ARGV[2])
for i = 2, #due, 2 do
  moments[#moments + 1] = due[i]
end
return {call('ZCARD', KEYS[1]), moments}
