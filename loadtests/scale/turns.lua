-- Requests for models in turn: wrk … URL -- BODY_FILE MODELS
-- As many requests are formatted beforehand whatever the number of models, so that all runs cost wrk the same.

local formatted = 1000

function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.method = "POST"
  wrk.body = file:read("*a")
  file:close()
  wrk.headers["Content-Type"] = "application/json"
  local models, requests, last = tonumber(args[2]), {}, 0
  for number = 1, formatted do
    wrk.headers["sluice-unit"] = "customer-" .. number
    requests[number] = wrk.format(nil, "/v2/models/m" .. number % models .. "/infer")
  end
  request = function()
    last = last % formatted + 1
    return requests[last]
  end
end
