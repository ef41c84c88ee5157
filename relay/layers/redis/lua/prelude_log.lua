-- The second part of every session's script. Constants (MAX_FRAMES …) from the layer's bounds are before the first.
-- ARGV: 2 the session id; of scripts that may start a session: 3 its epoch.
-- A subject has one character before it; an empty text is none.
local session, log, text, work, channel = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local session_id = ARGV[2]

local function announce(payload)
  call('SPUBLISH', channel, sender() .. payload)
end

-- The log. A frame is kept as kind, turn id, newline and its text; a token's is only what stands between the quotes.

local function size(frame, turn_length)
  if string.byte(frame) == TOKEN then
    return #frame - turn_length - 2 + TOKEN_SIZE
  end
  return #frame - turn_length - 3
end

local function trim(length, bytes, newest_turn)
  local texts = {}
  while length > 0 and (length > MAX_FRAMES or bytes > MAX_BYTES) do
    local frames = call('LPOP', log, math.max(1, math.min(1000, length - MAX_FRAMES)))
    for _, frame in ipairs(frames) do
      local head_end = string.find(frame, '\n', 2, true)
      bytes = bytes - size(frame, head_end - 2)
      if string.byte(frame) == TOKEN and string.sub(frame, 2, head_end - 1) == newest_turn then
        texts[#texts + 1] = string.sub(frame, head_end + 1)
      end
    end
    length = length - #frames
  end
  if #texts > 0 then
    local added = table.concat(texts)
    if call('APPEND', text, added) == #added then
      call('PEXPIRE', text, WORK_TTL)
    end
  end
  return bytes
end

-- Store frames of one turn and announce them; returns the newest offset and the bytes that are kept.
local function write(epoch, newest, bytes, turn_id, frames)
  local count, length = #frames, 0
  if count == 0 then
    return newest, bytes
  end
  for first = 1, count, 1000 do
    length = call('RPUSH', log, unpack(frames, first, math.min(first + 999, count)))
  end
  if length == count then
    call('PEXPIRE', log, WORK_TTL)
  end
  for _, frame in ipairs(frames) do
    bytes = bytes + size(frame, #turn_id)
  end
  if length > MAX_FRAMES or bytes > MAX_BYTES then
    bytes = trim(length, bytes, turn_id)
  end
  announce(epoch .. '\n' .. newest .. '\n' .. table.concat(frames, '\30'))
  return newest + count, bytes
end
