-- How a lease is charged for what it took: what settle.lua and settle_all.lua share; it stands between state.lua and both.

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

-- Charge what one lease took by its `actual` amounts; `expired`: as reserved. `corrected`: it was charged as reserved
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
      local state, changes = load(key)
      changes = changes or {}
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
        put(state, changes, 'f', (state.f or 0) - 1)
      end
      save(key, changes)
    end
  end
end
