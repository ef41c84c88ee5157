-- ARGV: 4 turn id, 5 body, 6 client_message_id, 7 digest, 8 on_busy, 9 subject, 10 detached,
-- 11 traceparent, then for each question that the message answers its id and a pending_resolved frame.
-- Gives turn id, position (-1: none), status, duplicate.
local turn_id, name, on_busy = ARGV[4], ARGV[6], ARGV[8]

local function accepted(id, turn, duplicate)
  local position = -1
  if turn.status == 'queued' then
    position = call('LPOS', queue, id)
  elseif turn.status == 'running' then
    position = 0
  end
  return {id, position, turn.status, duplicate}
end

if not start(ARGV[9]) then
  return 'not_owner'
end
local known = turn_named(turn_id)
if known then
  return accepted(turn_id, known, 0)
end
if name ~= '' then
  local same_name = call('HGET', names, name)
  if same_name then
    local turn = turn_named(same_name)
    if turn.digest ~= ARGV[7] then
      return 'conflict'
    end
    return accepted(same_name, turn, 1)
  end
end
local questions = #ARGV > 11 and read_questions() or {}
for i = 12, #ARGV, 2 do
  local asked = question_named(questions, ARGV[i])
  if asked and not is_open(asked) then
    return 'decided'
  end
end
local running = call('HGET', session, 'running')
local unfinished = call('LLEN', queue) + (running ~= '' and 1 or 0)
if on_busy == 'reject' and unfinished > 0 then
  return 'busy'
end
if on_busy ~= 'interrupt' and unfinished > MAX_QUEUE then
  return 'full'
end
if on_busy == 'interrupt' and running ~= '' then
  cancel_turn(running, turn_named(running))
end
local turn = {status = 'queued', body = ARGV[5], name = name, digest = ARGV[7], subject = ARGV[9],
  detached = ARGV[10] == '1', cancelled = false, queued_at = now,
  traceparent = ARGV[11]}
for i = 12, #ARGV, 2 do
  local asked = question_named(questions, ARGV[i])
  if asked then
    asked.settled_by = turn_id
    turn.asked = turn.asked or {}
    turn.resolved = turn.resolved or {}
    table.insert(turn.asked, asked.body)
    table.insert(turn.resolved, ARGV[i + 1])
  end
end
keep(turn_id, turn)
if turn.asked then
  keep_questions(questions)
end
call(on_busy == 'interrupt' and 'LPUSH' or 'RPUSH', queue, turn_id)
if name ~= '' then
  call('HSET', names, name, turn_id)
end
remember(turn_id)
call('HSET', session, 'active', now)
if running == '' then
  call('ZADD', work, 'NX', now, session_id)
end
settle()
return accepted(turn_id, turn, 0)
