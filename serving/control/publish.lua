-- The one place that moves the head, and the one place that moves a rollout: compare-and-swap on the head's digest and
-- on the rollout's revision, and with it policies, snapshot, lineage, records, stops, ledger, what hooks are to hear and
-- notification, so that none of them can disagree with the others. Either half may be left out.
--
-- KEYS: head, lineage, ledger, gateways, answer, new snapshot, replaced snapshot, fence, stopped, active rollouts,
--       order of rollouts, barred versions, due jobs, jobs, finding that was heard last, order of episodes of drift, open
--       episodes, silences
-- ARGV: what to write, as JSON (publication_form.py builds it)
-- Returns JSON: {done, epoch, digest, parent, members, refused, by}, of the head that is there afterwards.

local HEAD, LINEAGE, LEDGER, GATEWAYS, ANSWER, SNAPSHOT, REPLACED, FENCE, STOPPED, ACTIVE, ORDER, BARRED, DUE, JOBS,
  HEARD, EPISODES, OPEN, SILENCES = unpack(KEYS)
local said = cjson.decode(ARGV[1])
local moves, seen, fenced = said.moves, said.seen, said.fence

-- A client whose connection broke sends its command again. It gets the answer of the first time; renewing its expiry
-- is a write, which gives a WAITAOF on the new connection something to wait for.
local answered = redis.call('GET', ANSWER)
if answered then
  redis.call('PEXPIRE', ANSWER, said.answer_kept_ms)
  return answered
end

local shown = redis.call('HMGET', HEAD, 'epoch', 'digest', 'parent')
local digest = shown[2] or ''

local function refused(why, by)
  return cjson.encode({
    done = false, refused = why, by = by or '', epoch = shown[1] or '0', digest = digest, parent = shown[3] or '',
  })
end

-- What must hold. Nothing is written before all of it is looked at.

if fenced ~= '' and (redis.call('GET', FENCE) or '0') ~= fenced then
  return refused('deposed')
end
if (moves and digest ~= moves.expected) or (seen ~= '*' and digest ~= seen) then
  return refused('head')
end
if said.heard and (redis.call('GET', HEARD) or '') ~= said.heard.before then
  return refused('heard', redis.call('GET', HEARD) or '')
end
for _, one in ipairs(said.incidents) do
  local open = redis.call('HGET', OPEN, one.model)
  local mine = not open or open == one.id or open == one.replaces
  if (redis.call('HGET', one.key, 'revision') or '0') ~= one.expected or not mine then
    return refused('episode', open or one.id)
  end
end
for _, model in ipairs(said.unstopped) do
  for _, stopped in ipairs({model, '*'}) do
    if redis.call('HEXISTS', STOPPED, stopped) == 1 then
      return refused('stopped', stopped)
    end
  end
end
for _, model in ipairs(said.free) do
  local active = redis.call('HGET', ACTIVE, model)
  if active then
    return refused('active', active)
  end
end
for model, id in pairs(said.dropped) do
  local active = redis.call('HGET', ACTIVE, model)
  if active and active ~= id then
    return refused('active', active)
  end
end
local in_progress = redis.call('HLEN', ACTIVE)
for _, record in ipairs(said.records) do
  if (redis.call('HGET', record.key, 'revision') or '0') ~= record.expected then
    return refused('moved', record.id)
  end
  local active = redis.call('HGET', ACTIVE, record.model)
  if not record.over and active and active ~= record.id then
    return refused('active', active)
  end
  -- Those in progress are never forgotten, so there are at most as many of them as are kept.
  if record.writes and not record.over and not active then
    in_progress = in_progress + 1
    if in_progress > tonumber(said.most_rollouts) then
      return refused('full', tostring(said.most_rollouts))
    end
  end
  for _, version in ipairs(record.unbarred) do
    local by = redis.call('HGET', BARRED, record.model .. '/' .. version)
    if by then
      return refused('barred', by)
    end
  end
end

local members = {}
if moves then
  for _, id in ipairs(redis.call('SMEMBERS', GATEWAYS)) do
    local lease = redis.call('GET', said.gateway_prefix .. id)
    if lease then
      if moves.reader > 1 then
        local known, says = pcall(cjson.decode, lease)
        local reader = known and type(says) == 'table' and tonumber(says.reader) or 1
        if reader < moves.reader then
          return refused('reader', id)
        end
      end
      members[#members + 1] = id
    end
  end
end

-- Head, and what it names.

if moves then
  -- Writing a blob anew also takes away the expiry that it got when it was last replaced.
  for key, blob in pairs(moves.policies) do
    redis.call('SET', key, blob)
  end
  for _, key in ipairs(moves.retired) do
    redis.call('PEXPIRE', key, moves.replaced_kept_ms)
  end
  redis.call('PEXPIRE', REPLACED, moves.replaced_kept_ms)
  redis.call('SET', SNAPSHOT, moves.snapshot)
  redis.call('HSET', HEAD, 'epoch', moves.epoch, 'digest', moves.digest, 'parent', moves.expected)
  for epoch, digests in pairs(moves.lineage) do
    redis.call('HSET', LINEAGE, epoch, digests)
  end
  redis.call('HDEL', LINEAGE, moves.forgotten)
end

-- Stops, and rollouts.

for model, why in pairs(said.stops) do
  redis.call('HSET', STOPPED, model, why)
end
for _, model in ipairs(said.unstops) do
  redis.call('HDEL', STOPPED, model)
end
for model, why in pairs(said.stopped_before) do
  redis.call('HSETNX', STOPPED, model, why)
end
for version, id in pairs(said.barred_before) do
  redis.call('HSETNX', BARRED, version, id)
end
for model, _ in pairs(said.dropped) do
  redis.call('HDEL', ACTIVE, model)
end

local function forget(id)
  local model = redis.call('HGET', said.record_prefix .. id, 'model')
  redis.call('DEL', said.record_prefix .. id, said.counts_prefix .. id, said.entries_prefix .. id,
    said.case_prefix .. id, said.blocks_prefix .. id)
  redis.call('ZREM', ORDER, id)
  if model then
    redis.call('ZREM', said.of_model_prefix .. model, id)
  end
end

-- Of those that are over only the newest are kept.
local function forget_oldest(newest)
  local most = tonumber(said.most_rollouts)
  local over = redis.call('ZCARD', ORDER) - most
  if over <= 0 then
    return
  end
  local active = {[newest] = true}
  for _, id in ipairs(redis.call('HVALS', ACTIVE)) do
    active[id] = true
  end
  for _, id in ipairs(redis.call('ZRANGE', ORDER, 0, over + redis.call('HLEN', ACTIVE))) do
    if over > 0 and not active[id] then
      forget(id)
      over = over - 1
    end
  end
end

for _, record in ipairs(said.records) do
  if record.writes then
    redis.call('HSET', record.key, 'revision', record.revision, 'record', record.record, 'model', record.model,
      'stamp', redis.sha1hex(record.record))
    if not record.over then
      redis.call('HSET', ACTIVE, record.model, record.id)
    elseif redis.call('HGET', ACTIVE, record.model) == record.id then
      redis.call('HDEL', ACTIVE, record.model)
    end
    if record.expected == '0' then
      local place = redis.call('ZREVRANGE', ORDER, 0, 0, 'WITHSCORES')[2] or '0'
      redis.call('ZADD', ORDER, tonumber(place) + 1, record.id)
      redis.call('ZADD', said.of_model_prefix .. record.model, tonumber(place) + 1, record.id)
      forget_oldest(record.id)
    end
    for _, version in ipairs(record.bars) do
      redis.call('HSET', BARRED, record.model .. '/' .. version, record.id)
    end
    for _, version in ipairs(record.clears) do
      redis.call('HDEL', BARRED, record.model .. '/' .. version)
    end
  end
end

if said.heard then
  redis.call('SET', HEARD, said.heard.after)
end

-- Episodes of drift: of those that are over only the newest are kept.

local function forget_oldest_episodes()
  local over = redis.call('ZCARD', EPISODES) - tonumber(said.most_incidents)
  if over <= 0 then
    return
  end
  local open = {}
  for _, id in ipairs(redis.call('HVALS', OPEN)) do
    open[id] = true
  end
  for _, id in ipairs(redis.call('ZRANGE', EPISODES, 0, over + redis.call('HLEN', OPEN))) do
    if over > 0 and not open[id] then
      redis.call('DEL', said.incident_prefix .. id)
      redis.call('ZREM', EPISODES, id)
      over = over - 1
    end
  end
end

for _, one in ipairs(said.incidents) do
  redis.call('HSET', one.key, 'revision', one.revision, 'record', one.record, 'model', one.model)
  if not one.over then
    redis.call('HSET', OPEN, one.model, one.id)
  else
    redis.call('HDEL', OPEN, one.model)
  end
  if one.expected == '0' then
    local place = redis.call('ZREVRANGE', EPISODES, 0, 0, 'WITHSCORES')[2] or '0'
    redis.call('ZADD', EPISODES, tonumber(place) + 1, one.id)
    forget_oldest_episodes()
  end
end
for model, word in pairs(said.silences) do
  if word ~= '' then
    redis.call('HSET', SILENCES, model, word)
  else
    redis.call('HDEL', SILENCES, model)
  end
end

-- The ledger, and who hears of it.

local ids = {}
for nth, entry in ipairs(said.entries) do
  ids[nth] = redis.call('XADD', LEDGER, '*', 'entry', entry)
  if said.about[nth] ~= '' then
    local entries = said.entries_prefix .. said.about[nth]
    redis.call('RPUSH', entries, ids[nth])
    redis.call('LTRIM', entries, -said.most_entries, -1)
  end
end
local time = redis.call('TIME')
local now = time[1] .. string.format('%03d', math.floor(time[2] / 1000))
for _, job in ipairs(said.jobs) do
  if redis.call('ZCARD', DUE) < tonumber(said.most_jobs) then
    local id = ids[job.entry] .. '/' .. job.rollout .. '/' .. job.hook
    redis.call('HSET', JOBS, id, said.entries[job.entry])
    redis.call('ZADD', DUE, now, id)
  else
    redis.call('HINCRBY', JOBS, 'dropped', 1)
  end
end

local answer = cjson.encode({
  done = true, epoch = moves and moves.epoch or shown[1] or '0', digest = moves and moves.digest or digest,
  parent = moves and moves.expected or shown[3] or '', members = members, refused = '', by = '',
})
redis.call('SET', ANSWER, answer, 'PX', said.answer_kept_ms)
if moves then
  redis.call('PUBLISH', said.channel, moves.epoch .. ' ' .. moves.digest)
end
return answer
