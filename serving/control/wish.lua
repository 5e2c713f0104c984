-- Writes or takes away one wish if it is still at the revision that was read, and with it its ledger entry and the time
-- at which the version was last touched: a wish without a ledger entry, or one that sleeps at once, cannot be.
--
-- KEYS: wishes, their revisions, touched, ledger, answer
-- ARGV: field, expected revision, the wish (empty: it is taken away), ledger entry, milliseconds to keep the answer
-- Returns the new revision; 0 where it was taken away; -1 where it was at another revision.

local WISHES, REVISIONS, TOUCHED, LEDGER, ANSWER = unpack(KEYS)
local field, expected, wish, entry, kept_ms = unpack(ARGV)

-- A client whose connection broke sends its command again, and gets the answer of the first time.
local answered = redis.call('GET', ANSWER)
if answered then
  redis.call('PEXPIRE', ANSWER, kept_ms)
  return tonumber(answered)
end

if (redis.call('HGET', REVISIONS, field) or '0') ~= expected then
  return -1
end

local revision = 0
if wish == '' then
  redis.call('HDEL', WISHES, field)
  redis.call('HDEL', REVISIONS, field)
else
  local time = redis.call('TIME')
  -- Drawn from one counter for all, so that a wish that comes back is never at a revision that it had before.
  revision = redis.call('HINCRBY', REVISIONS, '', 1)
  redis.call('HSET', WISHES, field, wish)
  redis.call('HSET', REVISIONS, field, revision)
  redis.call('HSET', TOUCHED, field, time[1] .. string.format('%03d', math.floor(time[2] / 1000)))
end
redis.call('XADD', LEDGER, '*', 'entry', entry)
redis.call('SET', ANSWER, revision, 'PX', kept_ms)
return revision
