-- The fourth part of the scripts that know of questions: what agents ask persons, in the session's field 'questions', the
-- oldest first. Settled ones stay, so that a second answer is refused. Each: id, turn, body, expires_at, and the turn
-- that has settled it.

local function read_questions()
  local packed = call('HGET', session, 'questions')
  return packed and cmsgpack.unpack(packed) or {}
end

-- Has the turn that answers it ended without reaching the agent? Then it is open again.
local function is_void(turn_id)
  local turn = turn_named(turn_id)
  if not turn or turn.status ~= 'ended' then
    return false
  end
  return turn.cancelled or string.find(turn.terminal, UNAVAILABLE, 1, true) ~= nil
end

local function is_open(question)
  return question.expires_at > now and (not question.settled_by or is_void(question.settled_by))
end

local function keep_questions(questions)
  local bytes, asked_until = 0, 0
  for _, question in ipairs(questions) do
    bytes = bytes + #question.body
  end
  while #questions > MAX_QUESTIONS or bytes > MAX_QUESTION_BYTES do
    bytes = bytes - #table.remove(questions, 1).body
  end
  for _, question in ipairs(questions) do
    if is_open(question) then
      asked_until = math.max(asked_until, question.expires_at)
    end
  end
  call('HSET', session, 'questions', cmsgpack.pack(questions), 'asked_until', string.format('%.6f', asked_until))
end

local function question_named(questions, id)
  for place, question in ipairs(questions) do
    if question.id == id then
      return question, place
    end
  end
end
