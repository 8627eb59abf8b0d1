-- `collect`: one cloud of a fan-out, asked by this site's own collector.
--
-- Contract: docs/envoy.md, "`collect`". The collector names the target, of one cloud and nothing else. It has
-- bound the service to that cloud in the scope of the token. Where the collector caches validations, it also asks
-- the own Keystone.
-- Cost: three calls on the handle; for a service with the protocol `http` what `plain_http.drop` costs besides.

local adapter = require("adapter")
local constants = require("constants")
local plain_http = require("plain_http")
local project_ids = require("project_ids")
local services = require("services")
local targets = require("target")

local find, match = string.find, string.match
local HOME, HTTP, SITE = services.HOME, services.HTTP, constants.site
local VALIDATIONS = services.VALIDATIONS
local TOKENS = "^/v3/auth/tokens%f[?%z]"

local _M = {}


-- A validation that the collector cannot answer itself, or a revocation: by this site's Keystone.
local function ask_keystone(headers)
  local method = headers:get(":method")
  if not find(headers:get(":path") or "", TOKENS) or (method ~= "GET" and method ~= "HEAD" and method ~= "DELETE") then
    return 404, "the collector asks the Keystone of " .. SITE .. " about tokens only"
  end
  headers:replace("x-scopeway-target", HOME.identity.name)
  headers:replace("x-scopeway-service", "identity")
  return adapter.PASS
end


local function on_request(handle)
  local headers = handle:headers()
  local name = headers:get("x-scopeway-target") or ""
  if VALIDATIONS and name == VALIDATIONS.name then
    return ask_keystone(headers)
  end
  local service, cloud = match(name, "^([a-z0-9-]+)@([a-z0-9-]+)$")
  if not service then
    return 400, "the collector names no target of one cloud"
  elseif not HOME[service] or service == "identity" then
    return 400, "no fan-out has the service '" .. service .. "'"
  end
  local admitted, problem = targets.admit({ name = name, foreign = cloud ~= SITE })
  if not admitted then
    return 429, problem
  end
  headers:replace("x-scopeway-service", service)
  if cloud == SITE then
    local status, message = project_ids.in_request(handle, headers, service)
    if status then
      return status, message
    end
  elseif HTTP[service] then
    plain_http.drop(headers, HTTP[service])
    headers:replace("x-scopeway-route", "http")
  end
  return adapter.PASS
end


function _M.envoy_on_request(handle)
  adapter.on_request(handle, on_request)
end

return _M
