-- Replace the reservations of many leases of one tenant by their charges: what settle.lua does to each in turn, with every
-- counter read and written once. It is for leases that are open and that this life of the store admitted. Whatever else
-- a settlement may meet is settle.lua's business: of such a one nothing is changed, and it comes alone.
--
-- KEYS  1 leases by expiry (zset)  2 leases (hash)  3 the tombstone of nobody  4 epoch  5… scopes, in any order
-- ARGV  1 now ('' = Redis' own)  2 epoch that admitted them  3 as MessagePack: {request id, tokens, nano-USD, requests}…
-- Returns {now, then of those of which there is something to say: {number, to come alone} or {number, for each amount to
--         warn at that was passed: key, kind and unit, which one, used}}
--
-- KEYS[3] never is. While a Cluster moves the slot, it makes each end refuse the call before anything is done, as the
-- tombstone of a request does in the other scripts.

local now, closed = clock(ARGV[1]), cmsgpack.unpack(ARGV[3])
local reply, ids, gone = {now}, {}, {}

local function all_alone()
  reply = {now}
  for i = 1, #closed do
    reply[i + 1] = {i}
  end
  return reply
end

if redis.call('GET', KEYS[4]) ~= ARGV[2] then
  return all_alone()
end
for i, one in ipairs(closed) do
  ids[i] = one[1]
end
local records = redis.call('HMGET', KEYS[2], unpack(ids))
local sound = pcall(function()
  local seen = {}
  for i, one in ipairs(closed) do
    local said = {i}
    if records[i] and not seen[one[1]] then
      seen[one[1]] = true
      gone[#gone + 1] = one[1]
      apply(cmsgpack.unpack(records[i]), {t = one[2], u = one[3], r = one[4]}, now, said, false, false)
    else
      said.alone = true
    end
    if said.alone or #said > 1 then
      reply[#reply + 1] = said
    end
  end
end)
if not sound then
  return all_alone()
end
if #gone > 0 then
  redis.call('ZREM', KEYS[1], unpack(gone))
  redis.call('HDEL', KEYS[2], unpack(gone))
  write()
end
return reply
