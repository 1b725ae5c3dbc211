-- Replace reservations by their charge, exactly once.
--
-- KEYS  1 leases by expiry (zset)  2 leases (hash)  3 tombstone of this request  4 epoch  5… one per scope
-- ARGV  1 request id  2 tokens  3 nano-USD  4 requests  5 now ('' = Redis' own)  6 'final' or 'expire'
--       7 epoch that admitted ('' = unknown)  8 seconds for tombstones  9 seconds for cancelled ones
--       10 usage row, as in admit.lua  11… per scope, as in admit.lua
-- Returns {what, now}: 0 nothing to do · 1 settled or expired · 2 an expired lease corrected
--         3 charged though this life of the store never admitted it · -1 a period is over, come again
--         then, for each amount to warn at that was passed: key, kind and unit, which one, used

local request, mode, admitted = ARGV[1], ARGV[6], ARGV[7]
local actual = {t = tonumber(ARGV[2]), u = tonumber(ARGV[3]), r = tonumber(ARGV[4])}
local now = clock(ARGV[5])
local warned = {}

local function reply(what)
  return {what, now, unpack(warned)}
end

local packed = redis.call('HGET', KEYS[2], request)
if packed then
  if mode == 'expire' and tonumber(redis.call('ZSCORE', KEYS[1], request)) > now then
    return {0, now} -- renewed meanwhile
  end
  local elsewhere = mode ~= 'expire' and admitted ~= '' and admitted ~= redis.call('GET', KEYS[4])
  apply(cmsgpack.unpack(packed), actual, now, warned, mode == 'expire', false)
  redis.call('ZREM', KEYS[1], request)
  redis.call('HDEL', KEYS[2], request)
  write()
  if mode == 'expire' then
    redis.call('SET', KEYS[3], packed, 'EX', ARGV[8])
  elseif elsewhere then
    -- Admitted elsewhere while this admission was on its way: the same settlement, sent again, must not charge anew.
    redis.call('SET', KEYS[3], 'done', 'EX', ARGV[8])
  end
  return reply(1)
end
if mode ~= 'final' then
  return {0, now}
end

local tomb = redis.call('GET', KEYS[3])
if tomb == 'done' then
  return {0, now}
end
if tomb then
  apply(cmsgpack.unpack(tomb), actual, now, warned, false, true)
  redis.call('SET', KEYS[3], 'done', 'KEEPTTL')
  write()
  return reply(2)
end
if admitted == '' then
  -- Nobody knows whether it was admitted. If its admission is still under way, it must not come to life any more.
  redis.call('SET', KEYS[3], 'done', 'EX', ARGV[9])
  return {0, now}
end
if admitted == redis.call('GET', KEYS[4]) then
  return {0, now} -- settled before
end

-- The store came back empty: charge the calendar periods of now with what another life of it admitted.
for i = 11, #ARGV do
  local scope = cmsgpack.unpack(ARGV[i])
  if now < scope[2] or now >= scope[3] then
    return {-1, now}
  end
end
for i = 11, #ARGV do
  local scope = cmsgpack.unpack(ARGV[i])
  local key = KEYS[i - 6]
  local state, changes = known(key, scope[1])
  for _, limit in ipairs(scope[4]) do
    if limit[1] ~= 'b' and limit[1] ~= 'o' then
      local label = roll(key, state, changes, limit[1], limit[6])
      charge(key, state, changes, limit[1], label, limit[2], actual[limit[2]], 0)
      if limit[9] and state[limit[1]] == label then
        watch(key, state, changes, limit[1], limit[2], limit[9], warned)
      end
    end
  end
end
if ARGV[10] ~= '' then
  add_usage(cmsgpack.unpack(ARGV[10]), actual.r, actual.t, actual.u)
end
write()
redis.call('SET', KEYS[3], 'done', 'EX', admitted == 'free' and ARGV[9] or ARGV[8])
return reply(3)
