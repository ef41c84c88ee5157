-- KEYS: 1 when each is due, 2 the notifications. ARGV: 2 limit, 3 lease, 4 seconds ahead.
-- Gives turn id, age in seconds, session id and text of each, one after another.
local taken = {}
for _, name in ipairs(call('ZRANGEBYSCORE', KEYS[1], '-inf', now + ARGV[4], 'LIMIT', 0, ARGV[2])) do
  local kept = call('HGET', KEYS[2], name)
  if kept then
    call('ZADD', KEYS[1], now + ARGV[3], name)
    local session_id, turn_id = string.match(name, '^(.-)\n(.*)$')
    local ended_at, text = string.match(kept, '^(.-)\n(.*)$')
    for _, part in ipairs({turn_id, string.format('%.6f', now - ended_at), session_id, text}) do
      taken[#taken + 1] = part
    end
  else
    call('ZREM', KEYS[1], name)
  end
end
return taken
