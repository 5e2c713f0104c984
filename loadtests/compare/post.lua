-- One request, sent again and again: wrk … URL -- BODY_FILE 'Header: value' …
-- There is no request(): wrk then formats the request once and runs no Lua while it measures.

function init(args)
  local file = assert(io.open(args[1], "rb"))
  wrk.method = "POST"
  wrk.body = file:read("*a")
  file:close()
  for i = 2, #args do
    local name, value = args[i]:match("^([^:]+):%s*(.*)$")
    wrk.headers[name] = value
  end
end
