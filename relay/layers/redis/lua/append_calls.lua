-- As append.lua, which is the function append() here. ARGV: as there, then for each call its id and what is asked (empty:
-- the call has ended), then the number of calls.
local calls = {}
for place = tonumber(table.remove(ARGV)), 1, -1 do
  local body = table.remove(ARGV)
  calls[place] = {id = table.remove(ARGV), turn = ARGV[3], body = body, expires_at = now + QUESTION}
end
local reply = append()
if type(reply) ~= 'table' or not reply[3] then
  return reply
end
local questions = read_questions()
for _, asked in ipairs(calls) do
  local known, place = question_named(questions, asked.id)
  if asked.body ~= '' then
    if known then
      table.remove(questions, place) -- it is asked again
    end
    table.insert(questions, asked)
  elseif known and is_open(known) then
    known.settled_by = asked.turn
  end
end
keep_questions(questions)
return reply
