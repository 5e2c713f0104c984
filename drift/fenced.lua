-- Runs commands as one step, once, and only for the sidecar that holds the model: what was folded in is stored, and
-- acknowledged, told and remembered with it, or nothing is.
--
-- KEYS  1 the lease; 2 the model's keepers, whose empty field names the last step; then whatever the commands work on.
-- ARGV  1 the token that must hold the lease; 2 a name for this step; then for each command: how many words follow,
--       the command, the place of its key in KEYS, its other words.
-- Answers 1 where it is done, also where the same step was done before, and 0 where the lease is another's.

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if redis.call('HGET', KEYS[2], '') == ARGV[2] then
  return 1
end
redis.call('HSET', KEYS[2], '', ARGV[2])
local at = 3
while at <= #ARGV do
  local words = tonumber(ARGV[at])
  redis.call(ARGV[at + 1], KEYS[tonumber(ARGV[at + 2])], unpack(ARGV, at + 3, at + words))
  at = at + words + 1
end
return 1
