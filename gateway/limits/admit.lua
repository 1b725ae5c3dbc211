-- Reserve in all scopes of a claim, or in none; a refusal writes nothing.
--
-- KEYS  1 leases by expiry (zset)  2 leases (hash)  3 tombstone of this request  4 epoch  5… one per scope
-- ARGV  1 request id  2 tokens  3 nano-USD  4 lease µs  5 now ('' = Redis' own)  6 epoch to begin with
--       7 'admit' or 'standing'  8 tokens and 9 nano-USD that sliced limits hold at first
--       10 usage row, as MessagePack: {key, name}, or ''
--       11… per scope, as MessagePack: {ttl s, from µs, till µs, {limit…}},
--       a limit: {kind, unit, amount, burst, shadow, label, end µs, sliced, {amount to warn at…}};
--       kind: b bucket, o open, d m calendar windows, a the whole life
-- Returns {1 admitted | 2 was admitted before, now, epoch, standing…}
--         {0 refused, now, scope, limit, current, reserved, wanted, wait µs or -1, never, standing…}
--         {-1 a period is over: come again with those of `now`, now}  {3 request id is done with, now}
--         {4 standing, now, standing…}
-- standing: per limit what remains and, for buckets, µs until it is full again; then, for limits that an exception
-- has raised: number, amount, µs until when; and for limits that are only watched and would have refused: number, -1, 0

local request, lease, begin, only = ARGV[1], tonumber(ARGV[4]), ARGV[6], ARGV[7] == 'standing'
local asked = {r = 1, t = tonumber(ARGV[2]), u = tonumber(ARGV[3])}
local first = {r = 1, t = tonumber(ARGV[8]), u = tonumber(ARGV[9])}
local now = clock(ARGV[5])
local NEVER = 4.6e18
local scopes, states = {}, {}

for i = 11, #ARGV do
  local scope = cmsgpack.unpack(ARGV[i])
  if now < scope[2] or now >= scope[3] then
    return {-1, now}
  end
  scopes[#scopes + 1] = scope
end
for i = 1, #scopes do
  local state = load(KEYS[4 + i])
  states[i] = state
  for _, limit in ipairs(scopes[i][4]) do
    limit.written = limit[3]
    limit[3], limit[4], limit.till = bound(state, limit[1], limit[2], limit[3], limit[4], now)
    limit.wanted = (limit[8] and first or asked)[limit[2]]
  end
end

local function in_use(state, limit)
  local kind, unit = limit[1], limit[2]
  if kind == 'o' then
    return state.f or 0, 0
  end
  if (state[kind] or -1) < limit[6] then
    return 0, 0
  end
  local reserved = state[kind .. unit .. 'r'] or 0
  return (state[kind .. unit .. 'u'] or 0) + reserved, reserved
end

local function standing(reply)
  local special, number = {}, 0
  for i, scope in ipairs(scopes) do
    for _, limit in ipairs(scope[4]) do
      if limit[1] == 'b' then
        local level = leak(states[i], limit[2], limit[3], now)
        reply[#reply + 1] = math.floor((limit[4] * TICK - level) / TICK)
        reply[#reply + 1] = limit[3] > 0 and math.ceil(level / pace(states[i], limit[2], limit[3])) or 0
      else
        reply[#reply + 1] = limit[3] - (in_use(states[i], limit))
        reply[#reply + 1] = 0
      end
      if limit.till > 0 then
        special[#special + 1] = {number, limit[3], limit.till}
      end
      if limit.over and reply[1] == 1 then
        special[#special + 1] = {number, -1, 0}
      end
      number = number + 1
    end
  end
  for _, one in ipairs(special) do
    for _, figure in ipairs(one) do
      reply[#reply + 1] = figure
    end
  end
  return reply
end

if only then
  return standing({4, now})
end
if redis.call('HEXISTS', KEYS[2], request) == 1 then
  return standing({2, now, redis.call('GET', KEYS[4]) or ''})
end
if redis.call('EXISTS', KEYS[3]) == 1 then
  return {3, now}
end

-- Of the limits that do not fit, the one that takes longest to give way.
local worst, rank = nil, 0
for i, scope in ipairs(scopes) do
  for j, limit in ipairs(scope[4]) do
    local kind, unit, amount, burst, state = limit[1], limit[2], limit[3], limit[4], states[i]
    local wanted, current, reserved, wait, height = limit.wanted, 0, 0, -1, 0
    if kind == 'b' then
      local level = leak(state, unit, amount, now)
      local over = level + wanted * TICK - burst * TICK
      current = math.ceil(level / TICK)
      if wanted > burst or (over > 0 and amount == 0) then
        height = NEVER
      elseif over > 0 then
        wait = math.ceil(over / pace(state, unit, amount))
        height = 1 + wait
      end
    else
      current, reserved = in_use(state, limit)
      if wanted > amount then
        height = NEVER
      elseif current + wanted > amount then
        if kind == 'o' then
          height = 1
        elseif kind == 'a' then
          height = NEVER / 2
        else
          wait = limit[7] - now
          height = 1 + wait
        end
      end
    end
    if limit[5] then
      limit.over = height > 0 -- only watched
    elseif height > rank then
      rank = height
      worst = {0, now, i, j, current, reserved, wanted, wait, height == NEVER and 1 or 0}
    end
  end
end
if worst then
  return standing(worst)
end

local epoch = redis.call('GET', KEYS[4])
if not epoch then
  epoch = begin
  redis.call('SET', KEYS[4], epoch)
end
local record = {}
for i, scope in ipairs(scopes) do
  local key, state, changes, taken = KEYS[4 + i], states[i], {}, {}
  for _, limit in ipairs(scope[4]) do
    local kind, unit, amount = limit[1], limit[2], limit[3]
    local wanted, label, mark = limit.wanted, 0, 0
    if kind == 'b' then
      if limit.over then
        wanted, mark = 0, -1 -- an enforced limit would have refused, and taken nothing
      else
        mark = take(state, changes, unit, amount, wanted, now)
      end
    elseif kind ~= 'o' then
      label = roll(key, state, changes, kind, limit[6])
      local name = kind .. unit .. 'r'
      put(state, changes, name, (state[name] or 0) + wanted)
      local used = kind .. unit .. 'u'
      put(state, changes, used, state[used] or 0)
    end
    taken[#taken + 1] = {kind, unit, kind == 'b' and amount or limit.written, label, mark, wanted}
    if limit[8] or limit[9] then
      taken[#taken][7] = limit[8]
      taken[#taken][8] = limit[9]
    end
  end
  if #taken > 0 then
    put(state, changes, 'f', (state.f or 0) + 1)
    save(key, changes)
    if scope[1] > 0 then
      redis.call('EXPIRE', key, math.max(scope[1], math.ceil(((state.e or 0) - now) / 1000000)))
    else
      redis.call('PERSIST', key)
    end
    record[#record + 1] = {key, taken}
  end
end
if ARGV[10] ~= '' then
  local row = cmsgpack.unpack(ARGV[10])
  record[#record + 1] = {row[1], row[2], first.t, first.u}
end
redis.call('ZADD', KEYS[1], int(now + lease), request)
redis.call('HSET', KEYS[2], request, cmsgpack.pack(record))
return standing({1, now, epoch})
