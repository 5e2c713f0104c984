-- The one place that changes who is let in: records of keys, the keys that tokens are signed with, the revision that
-- gateways acknowledge, the ledger entry and the notification, so that none of them can disagree with the others.
--
-- KEYS: records, revision, ledger, gateways, answer, signing keys
-- ARGV: what to write, as JSON (access_store.py builds it)
-- Returns JSON: {done, revision, members}, of the revision that is there afterwards.

local RECORDS, REVISION, LEDGER, GATEWAYS, ANSWER, SIGNING = unpack(KEYS)
local said = cjson.decode(ARGV[1])

-- A client whose connection broke sends its command again, and gets the answer of the first time.
local answered = redis.call('GET', ANSWER)
if answered then
  redis.call('PEXPIRE', ANSWER, said.answer_kept_ms)
  return answered
end

local shown = redis.call('GET', REVISION) or '0'
if said.expected ~= '' and said.expected ~= shown then
  return cjson.encode({done = false, revision = shown})
end

for id, record in pairs(said.put) do
  redis.call('HSET', RECORDS, id, record)
end
for _, id in ipairs(said.dropped) do
  redis.call('HDEL', RECORDS, id)
end
if said.signing ~= '' then
  redis.call('SET', SIGNING, said.signing)
end

-- Never behind the clock, so that a store that lost its data does not show a revision that gateways have gone past.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local revision = string.format('%.0f', math.max(tonumber(shown) + 1, now))
redis.call('SET', REVISION, revision)
redis.call('XADD', LEDGER, '*', 'entry', said.entry)

local members = {}
for _, id in ipairs(redis.call('SMEMBERS', GATEWAYS)) do
  if redis.call('EXISTS', said.gateway_prefix .. id) == 1 then
    members[#members + 1] = id
  end
end
local answer = cjson.encode({done = true, revision = revision, members = members})
redis.call('SET', ANSWER, answer, 'PX', said.answer_kept_ms)
redis.call('PUBLISH', said.channel, revision)
return answer
