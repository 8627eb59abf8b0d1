-- At a peer: the answer to a request to upgrade, which no service may turn into an upgrade by a 200.
--
-- Contract: docs/lua.md, "Upgrades". Between sites a WebSocket is an extended CONNECT of HTTP/2, where a
-- 200 is what a 101 is in HTTP/1.1: the front would make it one, for a service that has ignored the
-- upgrade. `on_response` gives PASS, or a status and a sentence for the user.
-- Cost: a read of the status, of answers to such requests only.

local adapter = require("adapter")

local find = string.find

local _M = {}


local function on_response(handle)
  local status = handle:headers():get(":status")
  if find(status, "^2") then
    return 502, "a WebSocket was asked for, and the service answered " .. status
  end
  return adapter.PASS
end


-- Only the peer's Lua chooses the route that names this one.
_M.envoy_on_request = adapter.no_request


function _M.envoy_on_response(handle)
  adapter.on_response(handle, on_response)
end

return _M
