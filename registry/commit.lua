-- The one place that writes to the registry: compare-and-swap on the model's revision, and with it everything that the
-- change says and its entry in the audit log, so that the log can neither lack a change nor hold one that was refused.
--
-- KEYS: model, models, versions, audit, answer, then the hashes that are written to
-- ARGV: what to write, as JSON (store.py builds it)
-- Returns 1 if it was written, 0 if the model is at another revision.

local MODEL, MODELS, VERSIONS, AUDIT, ANSWER = unpack(KEYS, 1, 5)
local said = cjson.decode(ARGV[1])

-- A client whose connection broke sends its command again, and must not lose against itself. Renewing the expiry is a
-- write, which gives a WAITAOF on the new connection something to wait for.
if redis.call('PEXPIRE', ANSWER, said.answer_kept_ms) == 1 then return 1 end

if (redis.call('HGET', MODEL, 'revision') or '0') ~= said.expected then return 0 end

redis.call('HSET', MODEL, 'revision', said.revision)
redis.call('ZADD', MODELS, 0, said.model)
for _, number in ipairs(said.created) do
  redis.call('ZADD', VERSIONS, number, number)
  if tonumber(number) > tonumber(redis.call('HGET', MODEL, 'newest') or '0') then
    redis.call('HSET', MODEL, 'newest', number)
  end
end
for _, number in ipairs(said.removed) do redis.call('ZREM', VERSIONS, number) end
for _, put in ipairs(said.puts) do redis.call('HSET', put[1], put[2], put[3]) end
for _, drop in ipairs(said.drops) do redis.call('HDEL', drop[1], drop[2]) end
redis.call('XADD', AUDIT, '*', 'entry', said.entry)
redis.call('SET', ANSWER, '1', 'PX', said.answer_kept_ms)
return 1
