-- One request, sent again and again: wrk … URL -- BODY_FILE HEADERS_FILE UNITS
-- With UNITS of 0 there is no request(): wrk then formats the request once and runs no Lua while it measures. With more
-- so many requests are formatted beforehand, each for a unit of its own, and sent in turn.

function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.method = "POST"
  wrk.body = file:read("*a")
  file:close()
  for line in io.lines(args[2]) do
    local name, value = line:match("^([^:]+):%s*(.*)$")
    wrk.headers[name] = value
  end
  if tonumber(args[3]) > 0 then
    request = in_turn(tonumber(args[3]))
  end
end

function in_turn(units)
  local requests, last = {}, 0
  for unit = 1, units do
    wrk.headers["sluice-unit"] = "customer-" .. unit
    requests[unit] = wrk.format()
  end
  return function()
    last = last % units + 1
    return requests[last]
  end
end
