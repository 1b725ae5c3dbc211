-- Raise or reset one limit of one scope for a time, or take that back; and note it for the list.
--
-- KEYS  1 the scope  2 the list (hash)
-- ARGV  1 'raise', 'reset' or 'lift'  2 kind  3 unit  4 amount  5 until µs  6 now ('' = Redis' own)  7 name in the list
--       8 what the list says of it, '' = nothing  9 label of the current period
-- Returns {now, what was forgiven}

local mode, kind, unit, till = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[5])
local now = clock(ARGV[6])
local name, forgiven = kind .. unit, 0
local state, changes = load(KEYS[1]), {}
if mode == 'lift' then
  redis.call('HDEL', KEYS[1], 'x' .. name, 'X' .. name, 'y' .. name, 'Y' .. name)
  redis.call('HDEL', KEYS[2], ARGV[7] .. '|raise', ARGV[7] .. '|reset')
  return {now, 0}
elseif mode == 'raise' then
  put(state, changes, 'x' .. name, tonumber(ARGV[4]))
  put(state, changes, 'X' .. name, till)
elseif kind == 'b' then
  put(state, changes, 'l' .. unit, 0)
elseif state[kind] == tonumber(ARGV[9]) then
  forgiven = state[kind .. unit .. 'u'] or 0
  put(state, changes, 'y' .. name, forgiven)
  put(state, changes, 'Y' .. name, till)
end
if till > 0 then
  put(state, changes, 'e', math.max(state.e or 0, till))
end
save(KEYS[1], changes)
if ARGV[8] ~= '' then
  redis.call('HSET', KEYS[2], ARGV[7] .. '|' .. mode, ARGV[8])
end
local left, kept = redis.call('TTL', KEYS[1]), math.ceil((till - now) / 1000000)
if (left >= 0 and left < kept) or (left == -1 and not state.f) then
  redis.call('EXPIRE', KEYS[1], math.max(kept, 1))
end
return {now, forgiven}
