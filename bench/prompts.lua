-- Every request another prompt. Arguments: KEY BYTES MODEL WHAT TURNS HEADER=VALUE…
-- WHAT is clean (no digit, no @), hits (an address and a number in each) or stream (clean, and the answer is a stream).
local words = {"the", "bridge", "over", "river", "old", "stone", "carries", "people", "and", "trains", "since", "its",
  "arches", "were", "built", "by", "many", "hands", "in", "summer", "winter", "a", "city", "keeps", "light"}
local rest, model, what, before, number = "", "", "", "", 0

local function text(bytes)
  local parts, length = {}, 0
  while length < bytes do
    local word = words[math.random(#words)]
    parts[#parts + 1] = word
    length = length + #word + 1
  end
  return table.concat(parts, " ")
end

function init(args)
  local bytes, turns = tonumber(args[2]), tonumber(args[5])
  model, what = args[3], args[4]
  math.randomseed(os.time())
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Authorization"] = "Bearer " .. args[1]
  for i = 6, #args do
    local name, value = args[i]:match("^([^=]+)=(.*)$")
    wrk.headers[name] = value
  end
  rest = text(bytes / turns)
  local history = {}
  for turn = 1, turns - 1 do
    local role = turn % 2 == 1 and "user" or "assistant"
    history[#history + 1] = '{"role":"' .. role .. '","content":"' .. text(bytes / turns) .. '"},'
  end
  before = table.concat(history)
end

-- The first words differ in each request; the rest is drawn once, so that the generator stays cheap at 100 KB.
request = function()
  local first = {}
  for i = 1, 12 do first[i] = words[math.random(#words)] end
  if what == "hits" then
    number = number + 1
    first[13] = string.format("write to ada.%s%d@example.com or call +1 415 555 %04d", first[1], number, number % 10000)
  end
  local stream = what == "stream" and ',"stream":true' or ""
  return wrk.format(nil, nil, nil, '{"model":"' .. model .. '"' .. stream .. ',"messages":[' .. before
    .. '{"role":"user","content":"' .. table.concat(first, " ") .. " " .. rest .. '"}]}')
end
