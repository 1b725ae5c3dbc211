-- Let the sliced limits of an open lease hold more, all of them or none. Asked again, nothing more is taken.
--
-- KEYS  1 leases by expiry (zset)  2 leases (hash)  3… one per scope
-- ARGV  1 request id  2 tokens and 3 nano-USD to hold in all  4 now ('' = Redis' own)  5 lease µs
-- Returns {1 held, now}  {0 there is no such lease, now}  {2 refused, now, key, kind and unit, amount, current, reserved,
--         wanted, µs until when an exception has it so}

local request = ARGV[1]
local asked = {t = tonumber(ARGV[2]), u = tonumber(ARGV[3])}
local now = clock(ARGV[4])
local packed = redis.call('HGET', KEYS[2], request)
if not packed then
  return {0, now}
end
local record = cmsgpack.unpack(packed)
local states = {}
for i, scope in ipairs(record) do
  if type(scope[2]) == 'table' then
    local state = load(scope[1])
    states[i] = state
    for _, limit in ipairs(scope[2]) do
      local kind, unit, written, label, _, held, sliced = unpack(limit, 1, 7)
      if sliced and asked[unit] > held then
        local amount, _, till = bound(state, kind, unit, written, 0, now)
        local used, reserved = state[kind .. unit .. 'u'] or 0, state[kind .. unit .. 'r'] or 0
        if state[kind] ~= label then
          -- The period is over: what is known of it is what was charged, and this lease.
          used, reserved = tonumber(redis.call('HGET', scope[1] .. ':' .. kind .. int(label), unit) or 0), held
        end
        if used + reserved + asked[unit] - held > amount then
          return {2, now, scope[1], kind .. unit, amount, used + reserved, reserved, asked[unit] - held, till}
        end
      end
    end
  end
end
for i, scope in ipairs(record) do
  local changes = {}
  if not states[i] then
    scope[3], scope[4] = math.max(scope[3], asked.t), math.max(scope[4], asked.u)
  else
    for _, limit in ipairs(scope[2]) do
      local kind, unit, _, label, _, held, sliced = unpack(limit, 1, 7)
      if sliced and asked[unit] > held then
        limit[6] = asked[unit]
        if states[i][kind] == label then
          local name = kind .. unit .. 'r'
          put(states[i], changes, name, (states[i][name] or 0) + asked[unit] - held)
        end
      end
    end
    save(scope[1], changes)
  end
end
redis.call('HSET', KEYS[2], request, cmsgpack.pack(record))
redis.call('ZADD', KEYS[1], 'GT', int(now + tonumber(ARGV[5])), request)
return {1, now}
