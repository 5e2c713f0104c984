-- A page of a model's versions, the highest number first, in few texts: a client that reads ten thousand replies one by
-- one takes longer over it than the server, and the server over a text for each of them, or one for all. It is read at
-- one moment, so no version appears twice or not at all.
--
-- KEYS: versions, summaries, states
-- ARGV: the highest number, as ZREVRANGEBYSCORE takes it; how many
-- Returns pairs of texts, a thousand versions in each: their summaries as a JSON array, their standings with commas

local AT_ONCE = 1000  -- Lua hands over at most some thousands of arguments

local numbers = redis.call('ZREVRANGEBYSCORE', KEYS[1], ARGV[1], '-inf', 'LIMIT', 0, ARGV[2])
local said = {}
for first = 1, #numbers, AT_ONCE do
  local last = math.min(first + AT_ONCE - 1, #numbers)
  local summaries = redis.call('HMGET', KEYS[2], unpack(numbers, first, last))
  local standings = redis.call('HMGET', KEYS[3], unpack(numbers, first, last))
  for i = 1, #summaries do  -- what is not there is false, which cannot be joined
    summaries[i] = summaries[i] or 'null'
    standings[i] = standings[i] or ''
  end
  said[#said + 1] = {'[' .. table.concat(summaries, ',') .. ']', table.concat(standings, ',')}
end
return said
