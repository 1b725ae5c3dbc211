-- How a lease is charged for what it took: what settle.lua and settle_all.lua share; it stands between state.lua and both.
--
-- INVARIANT: all that can fail is done before anything is written, so that a settlement, or a batch of them, is made whole
-- or not at all: each key is read once, what is to become of it is noted, and `write` comes last. Where a lease ends, ZREM
-- comes first: it finds out what the index is, and as it frees memory, a server that is full runs it and all behind it.

local LARGEST = 9007199254740991
local states, written, added = {}, {}, {} -- by key: as it is, what of it is to be written, what is to be added
local kept = {} -- by key that is not there: for how many seconds it is kept

local function known(key, seconds)
  if not states[key] then
    states[key], written[key] = load(key), {}
    if next(states[key]) == nil then
      kept[key] = seconds
    end
  end
  return states[key], written[key]
end

local function add(key, field, amount)
  local fields = added[key] or {}
  added[key] = fields
  if not fields[field] then
    local there = redis.call('HGET', key, field) or '0'
    assert(string.match(there, '^-?%d+$'), 'nothing to add to')
    assert(math.abs(tonumber(there)) < LARGEST * 64, 'hardly anything can be added')
    fields[field] = 0
  end
  fields[field] = fields[field] + amount
  assert(math.abs(fields[field]) <= LARGEST, 'more than can be counted exactly')
end

add_elapsed = function(key, window, label, unit, amount) -- that of state.lua, which writes at once
  add(key .. ':' .. window .. int(label), unit, amount)
end

-- Add to a usage row: {key of the day, name of the row}.
local function add_usage(row, requests, tokens, nano_usd)
  for unit, amount in pairs({r = requests, t = tokens, u = nano_usd}) do
    add(row[1], unit .. row[2], amount)
  end
end

local function write()
  for key, changes in pairs(written) do
    save(key, changes)
    if (kept[key] or 0) > 0 then
      redis.call('EXPIRE', key, kept[key])
    end
  end
  for key, fields in pairs(added) do
    for field, amount in pairs(fields) do
      if amount ~= 0 then
        redis.call('HINCRBY', key, field, int(amount))
      end
    end
    redis.call('EXPIRE', key, KEEP)
  end
end

-- Each amount to warn at is told once a period.
local function watch(key, state, changes, kind, unit, amounts, warned)
  local used, name = state[kind .. unit .. 'u'] or 0, 'w' .. kind .. unit
  for at = (state[name] or 0) + 1, #amounts do
    if used < amounts[at] then
      break
    end
    put(state, changes, name, at)
    for _, figure in ipairs({key, kind .. unit, at, used}) do
      warned[#warned + 1] = figure
    end
  end
end

-- Note what one lease comes to by its `actual` amounts; `expired`: as reserved. `corrected`: it was charged as reserved
-- before. What it passed on the way is added to `warned`: key, kind and unit, which amount, used.
local function apply(record, actual, now, warned, expired, corrected)
  for _, scope in ipairs(record) do
    local key = scope[1]
    if type(scope[2]) == 'string' then
      local tokens, usd = expired and scope[3] or actual.t, expired and scope[4] or actual.u
      if corrected then
        add_usage(scope, 0, tokens - scope[3], usd - scope[4])
      else
        add_usage(scope, expired and 1 or actual.r, tokens, usd)
      end
    else
      local state, changes = known(key, KEEP) -- where it was forgotten: until an admission says how long
      for _, limit in ipairs(scope[2]) do
        local kind, unit, rate, label, mark, reserved, _, amounts = unpack(limit, 1, 8)
        local amount = expired and reserved or actual[unit]
        if kind == 'b' then
          if mark ~= -1 and amount < reserved then
            refund(state, changes, unit, rate, reserved - amount, mark, now)
          elseif mark ~= -1 and amount > reserved then
            take(state, changes, unit, rate, amount - reserved, now)
          end
        elseif kind ~= 'o' then
          if corrected then
            charge(key, state, changes, kind, label, unit, amount - reserved, 0)
          else
            charge(key, state, changes, kind, label, unit, amount, reserved)
          end
          if amounts and not expired and state[kind] == label then
            watch(key, state, changes, kind, unit, amounts, warned)
          end
        end
      end
      if not corrected then
        put(state, changes, 'f', math.max(0, (state.f or 0) - 1)) -- a scope that was forgotten knows of none
      end
    end
  end
end
