-- What the scripts share; it stands in front of each. The rules are those of ledger.py and gcra.py.
--
-- A scope's state is one hash. Buckets: l<unit> level, a<unit> µs of the level, v<unit> the rate from then on, g<unit>
-- tokens ever taken. f: open leases. A calendar window (d, m, a): <window> its label, <window><unit>u used, <window><unit>r reserved.
-- <scope>:<window><label> holds what was charged to an elapsed period. Units: r requests, t tokens, u nano-USD.
-- w<window><unit> how many `warn_at` shares were told. Exceptions of a limit (exceptions.py): x<kind><unit> the amount
-- it is raised to, X… until when; y<kind><unit> what it has on top, Y… until when; e the last end of all of them.
--
-- A lease is one value of the hash of leases, as MessagePack: of each scope {its key, {what it took…}}, and, where its
-- usage is kept, {key of the day, name of the row, tokens, nano-USD}. What it took of a limit: {kind, unit, rate of a
-- bucket, label of the period, mark of a bucket (-1: nothing was taken), reserved, sliced, {amount to warn at…}}.
--
-- Numbers are doubles, exact up to 2^53. They are written with %.0f: tostring() keeps 14 digits, and µs have 16.

local TICK = 60000000
local KEEP = 34560000 -- seconds for which an elapsed period is kept: 400 days

local function int(number)
  return string.format('%.0f', number)
end

local function load(key)
  local flat = redis.call('HGETALL', key)
  local state = {}
  for i = 1, #flat, 2 do
    state[flat[i]] = tonumber(flat[i + 1])
  end
  return state
end

local function clock(given)
  if given ~= '' then
    return tonumber(given)
  end
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- A bucket leaks by the rate of its last claim until the next one (gcra.py).
local function pace(state, unit, rate)
  local last = state['v' .. unit] or 0
  return last > 0 and last or rate
end

local function leak(state, unit, rate, now)
  local elapsed = math.max(0, now - (state['a' .. unit] or 0))
  return math.max(0, (state['l' .. unit] or 0) - elapsed * pace(state, unit, rate))
end

-- A limit's amount and burst as they hold now, and until when an exception has it so (0: none has).
local function bound(state, kind, unit, amount, burst, now)
  local name, till = kind .. unit, 0
  if (state['X' .. name] or 0) > now and state['x' .. name] > amount then
    amount, till = state['x' .. name], state['X' .. name]
  end
  if (state['Y' .. name] or 0) > now and state['y' .. name] > 0 then
    amount, till = amount + state['y' .. name], math.max(till, state['Y' .. name])
  end
  return amount, till > 0 and math.max(burst, amount) or burst, till
end

local function save(key, changes)
  local flat = {}
  for name, value in pairs(changes) do
    flat[#flat + 1] = name
    flat[#flat + 1] = int(value)
  end
  if #flat > 0 then
    redis.call('HSET', key, unpack(flat))
  end
end

-- Set a field of a state that was loaded, and note that it must be saved.
local function put(state, changes, name, value)
  state[name] = value
  changes[name] = value
end

local function take(state, changes, unit, rate, cost, now)
  put(state, changes, 'l' .. unit, leak(state, unit, rate, now) + cost * TICK)
  put(state, changes, 'a' .. unit, math.max(state['a' .. unit] or 0, now))
  if state['v' .. unit] ~= rate then
    put(state, changes, 'v' .. unit, rate)
  end
  put(state, changes, 'g' .. unit, (state['g' .. unit] or 0) + cost)
  return state['g' .. unit]
end

-- INVARIANT: a refund takes nothing from claims that are younger than the one it gives back (gcra.py).
local function refund(state, changes, unit, rate, back, mark, now)
  local level = leak(state, unit, rate, now)
  local younger = ((state['g' .. unit] or 0) - mark) * TICK
  put(state, changes, 'l' .. unit, math.max(level - back * TICK, math.min(level, younger)))
  put(state, changes, 'a' .. unit, math.max(state['a' .. unit] or 0, now))
end

-- Add to what was charged to an elapsed period. charge.lua has another in its place, which writes at the end.
local function add_elapsed(key, window, label, unit, amount)
  local closed = key .. ':' .. window .. int(label)
  redis.call('HINCRBY', closed, unit, int(amount))
  redis.call('EXPIRE', closed, KEEP)
end

-- Close the current period where `label` is a later one; an earlier label never reopens an old period.
local function roll(key, state, changes, window, label)
  local current = state[window]
  if current and label <= current then
    return current
  end
  for _, unit in ipairs({'r', 't', 'u'}) do
    local used = state[window .. unit .. 'u']
    if used then
      if used ~= 0 and current then
        add_elapsed(key, window, current, unit, used)
      end
      put(state, changes, window .. unit .. 'u', 0)
      put(state, changes, window .. unit .. 'r', 0)
    end
    if state['w' .. window .. unit] then
      put(state, changes, 'w' .. window .. unit, 0)
    end
  end
  put(state, changes, window, label)
  return label
end

-- Charge the period that admitted, whichever is current now.
local function charge(key, state, changes, window, label, unit, amount, release)
  if state[window] == label then
    local used, reserved = window .. unit .. 'u', window .. unit .. 'r'
    put(state, changes, used, (state[used] or 0) + amount)
    put(state, changes, reserved, (state[reserved] or 0) - release)
  elseif amount ~= 0 then
    add_elapsed(key, window, label, unit, amount)
  end
end
