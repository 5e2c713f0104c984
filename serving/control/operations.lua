-- Adds an operation, or writes the next form of one, with the times of this server's clock. What is unfinished is never
-- forgotten; of what has ended only the newest are kept.
--
-- KEYS: operation, order, order of its model, unfinished, ended, holders, arguments
-- ARGV: what to write, as JSON (operations_store.py builds it)
-- Returns {what happened, record, began_ms, ended_ms}: 'written', or 'moved' with nothing (another revision), 'full'
-- with nothing, or 'held' with the id of the operation that excludes it.

local RECORD, ORDER, OF_MODEL, UNFINISHED, ENDED, HOLDERS, ARGUMENTS = unpack(KEYS)
local said = cjson.decode(ARGV[1])

local there = redis.call('HMGET', RECORD, 'revision', 'record', 'began_ms', 'ended_ms')
-- A client whose connection broke sends its command again.
if there[1] == said.revision and there[2] == said.record then
  return {'written', there[2], there[3], there[4] or ''}
end
if (there[1] or '0') ~= said.expected then
  return {'moved'}
end

local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
local began_ms, ended_ms = there[3] or now, ''

if said.expected == '0' then
  if redis.call('SCARD', UNFINISHED) >= tonumber(said.most_unfinished) then
    return {'full'}
  end
  local holder = said.excludes ~= '' and redis.call('HGET', HOLDERS, said.excludes)
  if holder then
    return {'held', holder}
  end
  if said.excludes ~= '' then
    redis.call('HSET', HOLDERS, said.excludes, said.id)
  end
  redis.call('SADD', UNFINISHED, said.id)
  redis.call('SET', ARGUMENTS, said.arguments)
  -- Two may begin within one millisecond: what was added later is later.
  local place = redis.call('HINCRBY', HOLDERS, '', 1)
  redis.call('ZADD', ORDER, place, said.id)
  redis.call('ZADD', OF_MODEL, place, said.id)
end

if said.ended then
  ended_ms = now
  redis.call('SREM', UNFINISHED, said.id)
  redis.call('DEL', ARGUMENTS)
  if said.excludes ~= '' and redis.call('HGET', HOLDERS, said.excludes) == said.id then
    redis.call('HDEL', HOLDERS, said.excludes)
  end
  redis.call('ZADD', ENDED, redis.call('HINCRBY', HOLDERS, '', 1), said.id)
end
redis.call('HSET', RECORD, 'revision', said.revision, 'record', said.record, 'began_ms', began_ms, 'ended_ms', ended_ms,
  'model', said.model)

if said.ended then
  local over = redis.call('ZCARD', ENDED) - tonumber(said.kept_ended)
  for _, id in ipairs(over > 0 and redis.call('ZRANGE', ENDED, 0, over - 1) or {}) do
    local old = said.record_prefix .. id
    local model = redis.call('HGET', old, 'model')
    redis.call('DEL', old)
    redis.call('ZREM', ORDER, id)
    redis.call('ZREM', ENDED, id)
    if model then
      redis.call('ZREM', said.of_model_prefix .. model, id)
    end
  end
end
return {'written', said.record, began_ms, ended_ms}
