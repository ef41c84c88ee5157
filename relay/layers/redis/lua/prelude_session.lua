-- The third part of every session's script but append, which runs for each token: each closure costs time.
local turns, queue, names, order, viewers = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local all, expiring, deleted, empties, memo = KEYS[11], KEYS[12], KEYS[13], KEYS[14], KEYS[15]

-- The session.

local function erase()
  call('DEL', session, log, text, turns, queue, names, order, viewers)
  call('ZREM', all, session_id)
  call('ZREM', expiring, session_id)
  call('ZREM', work, session_id)
  call('ZREM', empties, session_id)
end

-- Is there a session in which a message was accepted?
local function exists()
  local fields = call('HMGET', session, 'touched', 'running', 'asked_until')
  if not fields[1] then
    if call('ZSCORE', work, session_id) then -- else no write: a full store refuses a script at its first one only
      call('ZREM', work, session_id)
    end
    return false
  end
  local kept_until = math.max(tonumber(fields[1]) + TTL, tonumber(fields[3] or 0))
  if fields[2] == '' and kept_until <= now and call('LLEN', queue) == 0 then
    erase()
    return false
  end
  return true
end

-- Is there an empty session: one that is watched, while no message was accepted in it yet? It has an epoch, perhaps an
-- owner, and the moment until which its viewers keep it.
local function is_empty()
  local kept_until = call('HGET', session, 'kept_until')
  if kept_until and tonumber(kept_until) <= now then
    erase()
    return false
  end
  return kept_until ~= false
end

local function keep_empty()
  call('HSET', session, 'kept_until', now + VIEWER)
  call('ZADD', empties, now + VIEWER, session_id)
  for _, key in ipairs({session, viewers, empties}) do
    call('PEXPIRE', key, math.ceil(VIEWER * 1000) + 1000)
  end
end

-- Keep the session's keys as long as it is used, or its work or a question may wait; forget a few expired sessions.
local function settle()
  local fields = call('HMGET', session, 'running', 'asked_until')
  local running = fields[1]
  if not running then
    return keep_empty()
  end
  local is_busy = running ~= '' or call('LLEN', queue) > 0
  local seconds = is_busy and WORK_TTL / 1000 or math.max(TTL, tonumber(fields[2] or 0) - now)
  call('HSET', session, 'touched', now)
  for _, key in ipairs({session, log, text, turns, queue, names, order, viewers}) do
    call('PEXPIRE', key, math.ceil(seconds * 1000) + 1000)
  end
  call('ZADD', all, 0, session_id)
  call('ZADD', expiring, now + seconds, session_id)
  for _, name in ipairs(call('ZRANGEBYSCORE', expiring, '-inf', now, 'LIMIT', 0, 2)) do
    call('ZREM', all, name)
    call('ZREM', expiring, name)
  end
end

local function start_epoch()
  call('HSET', session, 'epoch', ARGV[3], 'owner', '', 'begun', now)
  call('DEL', log, text) -- which may outlive the rest, because they began to be kept later
  announce('!epoch\n' .. ARGV[3])
end

-- Find the session, or create an empty one. Returns whether there is one: the number of empty ones is bounded.
local function open()
  if exists() or is_empty() then
    return true
  end
  if call('ZCOUNT', empties, '(' .. now, '+inf') >= MAX_EMPTY then
    return false
  end
  start_epoch() -- before room is made: a full store refuses a script at its first write only
  call('ZREMRANGEBYSCORE', empties, '-inf', now)
  keep_empty()
  return true
end

-- May this subject act in the session? One without an owner becomes its own. An empty subject is a service, which may.
local function admit(subject)
  if subject == '' then
    return true
  end
  local owner = call('HGET', session, 'owner')
  if owner == '' then
    call('HSET', session, 'owner', subject)
    return true
  end
  return owner == subject
end

-- Find or start the session for an accepted message; an empty one keeps its epoch, owner and viewers.
-- Returns whether the subject may act in it.
local function start(subject)
  local has_started = exists()
  if not has_started and not is_empty() then
    start_epoch()
  end
  if not admit(subject) then
    return false
  end
  if not has_started then
    call('HDEL', session, 'kept_until')
    call('ZREM', empties, session_id)
    call('HSET', session, 'newest', 0, 'bytes', 0, 'running', '', 'turn', '', 'turn_after', 0, 'cancelled', '0',
      'active', now, 'terminal', '')
    settle()
  end
  return true
end

-- Turns.

local function turn_named(turn_id)
  local packed = call('HGET', turns, turn_id)
  return packed and cmsgpack.unpack(packed)
end

local function keep(turn_id, turn)
  call('HSET', turns, turn_id, cmsgpack.pack(turn))
end

local function remember(turn_id)
  call('RPUSH', order, turn_id)
  while call('LLEN', order) > MAX_REMEMBERED do
    local oldest = call('LINDEX', order, 0)
    local turn = turn_named(oldest)
    if turn and turn.status ~= 'ended' then
      return
    end
    call('LPOP', order)
    call('HDEL', turns, oldest)
    if turn and turn.name ~= '' then
      call('HDEL', names, turn.name)
    end
  end
end

local function hold()
  call('HSET', session, 'until', now + LEASE)
  call('ZADD', work, now + LEASE, session_id)
end

local function start_turn(turn_id, after)
  call('HSET', session, 'turn', turn_id, 'turn_after', after, 'terminal', '', 'active', now)
  call('DEL', text)
end

local function count_viewers()
  call('ZREMRANGEBYSCORE', viewers, '-inf', now)
  return call('ZCARD', viewers)
end

-- End a turn with its terminal frame. Returns the offset, the epoch, and 1 if its notification had no room.
-- A call with a notification has two keys more: when each is due, and the notifications.
local function end_turn(turn_id, turn, lease, frame, notification, if_unwatched, most)
  local fields = call('HMGET', session, 'epoch', 'newest', 'bytes')
  local newest, bytes = write(fields[1], tonumber(fields[2]), tonumber(fields[3]), turn_id, {frame})
  call('HSET', session, 'newest', newest, 'bytes', bytes, 'running', '', 'cancelled', '0', 'active', now,
    'terminal', newest .. '\n' .. frame)
  turn.status, turn.lease, turn.terminal, turn.offset, turn.body = 'ended', lease, frame, newest, ''
  turn.asked, turn.resolved = nil, nil
  keep(turn_id, turn)
  if call('LLEN', queue) > 0 then
    call('ZADD', work, now, session_id)
  else
    call('ZREM', work, session_id)
  end
  settle()
  if KEYS[17] and notification ~= '' and not (if_unwatched == '1' and count_viewers() > 0) then
    if call('ZCARD', KEYS[16]) >= tonumber(most) then
      return newest, fields[1], 1
    end
    local name = session_id .. '\n' .. turn_id
    call('ZADD', KEYS[16], now, name)
    call('HSET', KEYS[17], name, now .. '\n' .. notification)
    call('PEXPIRE', KEYS[16], WORK_TTL)
    call('PEXPIRE', KEYS[17], WORK_TTL)
  end
  return newest, fields[1], 0
end

-- Mark a turn cancelled. Returns whether it was not before.
local function cancel_turn(turn_id, turn)
  local is_new
  if turn.status == 'running' then
    is_new = call('HGET', session, 'cancelled') ~= '1'
    call('HSET', session, 'cancelled', '1')
  else
    is_new = not turn.cancelled
    turn.cancelled = true
    keep(turn_id, turn)
  end
  if is_new then
    announce('!cancel\n' .. call('HGET', session, 'epoch') .. '\n' .. turn_id)
  end
  return is_new
end
