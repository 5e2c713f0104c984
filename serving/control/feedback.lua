-- Counts feedback, each (request id, metric) once: what was not seen before is noted and summed up in one step, so that
-- nothing is ever counted twice, or noted and not counted.
--
-- KEYS  1 tallies by kind; then whatever the items point to.
-- ARGV  1 horizon in seconds; 2 how many counters a hash may have; 3 how many units a rollout remembers; 4 seconds for
--       which a rollout's sums are kept; 5 how many tallies follow, each a field and a number; then the items, each:
--       key of what was seen, member, seconds since 1970 of the request, when what was seen may be forgotten,
--       key of the version's sums, prefix of the fields, field of the confusion or '',
--       key of the rollout's sums or 0, prefix of the fields, key of its units or 0, the unit,
--       model, how many counters follow, each a name and a number.
-- Keys are given by their place in KEYS. Answers one letter for each item: a(ccepted), d(uplicate), l(ate), o(ver).

local now = tonumber(redis.call('TIME')[1])
local horizon, most_fields, most_units = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local kept = ARGV[4]
local at = 6
for _ = 1, tonumber(ARGV[5]) do
  redis.call('HINCRBY', KEYS[1], ARGV[at], ARGV[at + 1])
  at = at + 2
end

local function add(key, prefix, first, count)
  for nth = first, first + 2 * (count - 1), 2 do
    redis.call('HINCRBY', key, prefix .. ARGV[nth], ARGV[nth + 1])
  end
end

local function room(key, field)
  return redis.call('HLEN', key) < most_fields or redis.call('HEXISTS', key, field) == 1
end

local said = {}
while at <= #ARGV do
  local seen, member, sent, forget = KEYS[tonumber(ARGV[at])], ARGV[at + 1], tonumber(ARGV[at + 2]), ARGV[at + 3]
  local sums, prefix, confusion = KEYS[tonumber(ARGV[at + 4])], ARGV[at + 5], ARGV[at + 6]
  local rollout, segment = KEYS[tonumber(ARGV[at + 7])], ARGV[at + 8]
  local units, unit, model = KEYS[tonumber(ARGV[at + 9])], ARGV[at + 10], ARGV[at + 11]
  local count, first = tonumber(ARGV[at + 12]), at + 13
  local kind = 'accepted'
  local field = confusion
  if field == '' then field = prefix .. 'n' end
  if sent + horizon < now then
    kind = 'late'
  elseif not room(sums, field) then
    kind = 'over'
  elseif redis.call('SADD', seen, member) == 0 then
    kind = 'duplicate'
  else
    redis.call('EXPIREAT', seen, forget)
    if confusion ~= '' then
      redis.call('HINCRBY', sums, confusion, 1)
    else
      add(sums, prefix, first, count)
      if rollout and room(rollout, segment .. 'n') then
        if not units then
          add(rollout, segment, first, count)
        elseif redis.call('SISMEMBER', units, unit) == 1 then
          redis.call('HINCRBY', rollout, 'again', 1)
        elseif redis.call('SCARD', units) >= most_units then
          redis.call('HINCRBY', rollout, 'beyond', 1)
        else
          redis.call('SADD', units, unit)
          redis.call('EXPIRE', units, kept)
          add(rollout, segment, first, count)
        end
        redis.call('EXPIRE', rollout, kept)
      end
    end
  end
  redis.call('HINCRBY', KEYS[1], model .. '|' .. kind, 1)
  said[#said + 1] = string.sub(kind, 1, 1)
  at = first + 2 * count
end
return table.concat(said)
