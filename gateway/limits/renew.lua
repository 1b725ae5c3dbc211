-- Push the expiry of open leases of one tenant out. What is not open, or expires later already, stays as it is.
--
-- KEYS  1 leases by expiry (zset)  2 the tombstone of nobody (settle_all.lua says why)
-- ARGV  1 now ('' = Redis' own)  2 lease µs  3 request ids, as MessagePack
-- Returns {now}

local now, due = clock(ARGV[1]), {}
local till = int(now + tonumber(ARGV[2]))
for _, request in ipairs(cmsgpack.unpack(ARGV[3])) do
  due[#due + 1] = till
  due[#due + 1] = request
end
redis.call('ZADD', KEYS[1], 'XX', 'GT', unpack(due))
return {now}
