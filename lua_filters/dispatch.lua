-- `dispatch`: one attempt at a cloud of an `|` or of a label.
--
-- Contract: docs/envoy.md. The endpoint that the outer cluster chose says which target this attempt is
-- for. Without it there is no target, and the routes answer 500.
-- Cost: four calls on the handle.

local adapter = require("adapter")
local project_ids = require("project_ids")
local services = require("services")

local HOME = services.HOME

local _M = {}


local function on_request(handle)
  local metadata = handle:connectionStreamInfo():dynamicMetadata():get("scopeway")
  local target = metadata and metadata.target
  if not target then
    return adapter.PASS
  end
  local headers = handle:headers()
  headers:replace("x-scopeway-target", target)
  local service = headers:get("x-scopeway-service")
  local home = service and HOME[service]
  if home and home.name == target then
    local status, message = project_ids.in_request(handle, headers, service)
    if status then
      return status, message
    end
  end
  return adapter.PASS
end


function _M.envoy_on_request(handle)
  adapter.on_request(handle, on_request)
end

return _M
