-- A page of a model's versions, the highest number first, as one text: a client that reads ten thousand replies one by
-- one takes longer over it than the server. It is read at one moment, so no version appears twice or not at all.
--
-- KEYS: versions, summaries, states
-- ARGV: the highest number, as ZREVRANGEBYSCORE takes it; how many
-- Returns JSON: [[summary, standing], ...]

local AT_ONCE = 1000  -- Lua hands over at most some thousands of arguments

local numbers = redis.call('ZREVRANGEBYSCORE', KEYS[1], ARGV[1], '-inf', 'LIMIT', 0, ARGV[2])
local shown = {}
for first = 1, #numbers, AT_ONCE do
  local last = math.min(first + AT_ONCE - 1, #numbers)
  local summaries = redis.call('HMGET', KEYS[2], unpack(numbers, first, last))
  local standings = redis.call('HMGET', KEYS[3], unpack(numbers, first, last))
  for i = 1, #summaries do
    shown[#shown + 1] = '[' .. (summaries[i] or 'null') .. ',"' .. (standings[i] or '') .. '"]'
  end
end
return '[' .. table.concat(shown, ',') .. ']'
