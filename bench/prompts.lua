-- Every request another prompt: words drawn at random, no digit and no @ unless asked. Arguments: KEY BYTES.
local words = {"the", "bridge", "over", "river", "old", "stone", "carries", "people", "and", "trains", "since", "its",
  "arches", "were", "built", "by", "many", "hands", "in", "summer", "winter", "a", "city", "keeps", "light"}
local bodies, at = {}, 0

function init(args)
  local key, bytes = args[1], tonumber(args[2])
  math.randomseed(os.time())
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/json"
  wrk.headers["Authorization"] = "Bearer " .. key
  local tail = {}
  local length = 0
  while length < bytes do
    local word = words[math.random(#words)]
    tail[#tail + 1] = word
    length = length + #word + 1
  end
  rest = table.concat(tail, " ")
end

-- The first words differ in each request; the rest is drawn once, so that the generator stays cheap at 100 KB.
request = function()
  local first = {}
  for i = 1, 12 do first[i] = words[math.random(#words)] end
  return wrk.format(nil, nil, nil, '{"model":"bench","messages":[{"role":"user","content":"'
    .. table.concat(first, " ") .. " " .. rest .. '"}]}')
end
