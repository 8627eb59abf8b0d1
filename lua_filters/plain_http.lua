-- Requests for a service whose type has the protocol `http`: any HTTP service, of no OpenStack.
--
-- Contract: docs/http-services.md. Such a service has no Keystone: the scope is in `X-Scope` or in the path,
-- and no token is read or changed. What opens something at this site may stand in any header, so another
-- cloud gets those that HTTP needs and those that the service type lists (`forward`), and no other.
-- Cost: a pass over the headers, and a call for each one that is dropped; nothing for the own cloud.

local adapter = require("adapter")
local resolve = require("resolve")
local services = require("services")

local byte, sub = string.byte, string.sub
local ipairs, pairs = ipairs, pairs
local HOME = services.HOME
local COLON = byte(":")
local OURS = "x-scopeway-" -- those of clients are removed before any Lua runs

local _M = {}

-- Headers without which an exchange of HTTP, a condition, a range, a WebSocket or a trace breaks, and what fronts
-- themselves say. None of them opens anything. `sec-websocket-protocol` is missing: some clients send a token in it.
_M.NEEDED = {}
for _, name in ipairs({
  "accept",
  "accept-charset",
  "accept-encoding",
  "accept-language",
  "access-control-request-headers",
  "access-control-request-method",
  "cache-control",
  "connection",
  "content-disposition",
  "content-encoding",
  "content-language",
  "content-length",
  "content-location",
  "content-md5",
  "content-range",
  "content-type",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "origin",
  "pragma",
  "range",
  "sec-websocket-extensions",
  "sec-websocket-key",
  "sec-websocket-version",
  "te",
  "traceparent",
  "tracestate",
  "transfer-encoding",
  "upgrade",
  "user-agent",
  "via",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-prefix",
  "x-forwarded-proto",
  "x-request-id",
}) do
  _M.NEEDED[name] = true
end

local NEEDED = _M.NEEDED


-- The target of a request, whose path has the scope `path_text` or none; nil, a status and a sentence where it is
-- refused.
function _M.choose(headers, service, path_text)
  local text, problem = adapter.single(headers, "x-scope")
  if problem then
    return nil, 400, problem
  end
  text = text or path_text
  if not text then
    return HOME[service]
  end
  local resolved
  resolved, problem = resolve.resolve(text)
  if not resolved then
    return nil, 400, problem
  end
  return resolve.target(resolved, service)
end


-- Removes what may not leave the site; `forwarded` has the names that the service type lists.
function _M.drop(headers, forwarded)
  local dropped = {} -- while one looks at headers, none can be removed
  for name in pairs(headers) do
    local crosses = NEEDED[name] or forwarded[name] or byte(name) == COLON or sub(name, 1, #OURS) == OURS
    dropped[name] = not crosses or nil
  end
  for name in pairs(dropped) do
    headers:remove(name)
  end
end

return _M
