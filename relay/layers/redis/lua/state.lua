-- ARGV: 3 epoch of a new session, 4 may it be created (1)? 5 subject.
if ARGV[4] == '1' then
  if not open() then
    return 'no_room'
  end
elseif not exists() and not is_empty() then
  return false
end
if not admit(ARGV[5]) then
  return 'not_owner'
end
local fields = call('HMGET', session, 'epoch', 'newest', 'running', 'turn_after', 'cancelled', 'active', 'begun',
  'asked_until', 'owner')
local newest, running = tonumber(fields[2]) or 0, fields[3] or '' -- an empty session has neither
local is_running = running ~= ''
local asked = {}
for _, question in ipairs(fields[8] and read_questions() or {}) do
  if is_open(question) then
    table.insert(asked, {question.id, question.turn, question.body, string.format('%.6f', question.expires_at - now)})
  end
end
return {fields[1], newest - call('LLEN', log) + 1, newest, running, is_running and tonumber(fields[4]) or newest,
  is_running and fields[5] or '0', call('LRANGE', queue, 0, -1), count_viewers(),
  string.format('%.6f', now - tonumber(fields[6] or fields[7])), string.format('%.6f', now - tonumber(fields[7])),
  fields[3] and 0 or 1, asked, fields[9]}
