-- The one place that moves the head: compare-and-swap on its digest, and with it policies, snapshot, lineage, ledger
-- and notification, so that none of them can disagree with the others.
--
-- KEYS: head, lineage, ledger, gateways, publication, new snapshot, replaced snapshot
-- ARGV: what to write, as JSON (store.py builds it)
-- Returns JSON: {done, epoch, digest, parent, members}, of the head that is there afterwards.

local HEAD, LINEAGE, LEDGER, GATEWAYS, PUBLICATION, SNAPSHOT, REPLACED = unpack(KEYS)
local said = cjson.decode(ARGV[1])

-- A client whose connection broke sends its command again. It gets the answer of the first time; renewing its expiry
-- is a write, which gives a WAITAOF on the new connection something to wait for.
local answered = redis.call('GET', PUBLICATION)
if answered then
  redis.call('PEXPIRE', PUBLICATION, said.answer_kept_ms)
  return answered
end

local shown = redis.call('HMGET', HEAD, 'epoch', 'digest', 'parent')
if (shown[2] or '') ~= said.expected then
  return cjson.encode({done = false, epoch = shown[1] or '0', digest = shown[2] or '', parent = shown[3] or ''})
end

-- Writing a blob anew also takes away the expiry that it got when it was last replaced.
for key, blob in pairs(said.policies) do
  redis.call('SET', key, blob)
end
for _, key in ipairs(said.retired) do
  redis.call('PEXPIRE', key, said.replaced_kept_ms)
end
redis.call('PEXPIRE', REPLACED, said.replaced_kept_ms)
redis.call('SET', SNAPSHOT, said.snapshot)

redis.call('HSET', HEAD, 'epoch', said.epoch, 'digest', said.digest, 'parent', said.expected, 'fence', said.fence)
for epoch, digests in pairs(said.lineage) do
  redis.call('HSET', LINEAGE, epoch, digests)
end
redis.call('HDEL', LINEAGE, said.forgotten)
redis.call('XADD', LEDGER, '*', 'entry', said.entry)

local members = {}
for _, id in ipairs(redis.call('SMEMBERS', GATEWAYS)) do
  if redis.call('EXISTS', said.gateway_prefix .. id) == 1 then
    members[#members + 1] = id
  end
end
local answer = cjson.encode({
  done = true, epoch = said.epoch, digest = said.digest, parent = said.expected, members = members,
})
redis.call('SET', PUBLICATION, answer, 'PX', said.answer_kept_ms)
redis.call('PUBLISH', said.channel, said.epoch .. ' ' .. said.digest)
return answer
