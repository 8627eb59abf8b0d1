-- The peer: which of this site's services another site asks for.
--
-- Contract: docs/lua.md, "The peer". The scope was resolved at the origin: nothing is read but the
-- path, the token and the body where they may name a project (project_ids.lua), and what makes a form of the
-- body. Who may use it is decided behind this, by RBAC. Before that, who sends too many is refused.
-- Cost: nine calls on the handle, ten where callers have certificates; one more for what may be a form.

local adapter = require("adapter")
local constants = require("constants")
local limits = require("limits")
local paths = require("path")
local project_ids = require("project_ids")
local services = require("services")

local HOME, SITE = services.HOME, constants.site
-- What the names in the certificates of sites begin with; nil where peers speak without TLS.
local CALLERS = constants.callers

local _M = {}

local find, lower, sub = string.find, string.lower, string.sub
local MAX_NAME = 63
local NOBODY = "callers without a name"

-- A validation of a token has its own prefix, so that whose tokens a cloud honours is decided apart
-- from who may log in; the same service answers it, but nothing else of that service.
local VALIDATE = "identity.validate"
local TOKENS = "^/v3/auth/tokens%f[?%z]"

-- First segment to target name.
local CACHED = services.VALIDATIONS and services.VALIDATIONS.name
local TARGETS = { [VALIDATE] = CACHED or HOME.identity.name }
for service, target in pairs(HOME) do
  TARGETS[service] = target.name
end


-- As the names of clouds are in manifests.
local function is_name(text)
  return #text <= MAX_NAME and find(text, "^[a-z0-9][a-z0-9-]*$") and sub(text, -1) ~= "-"
end


-- The calling cloud, or nil where the certificate is not of one. Envoy itself has put the URI of the caller's
-- certificate in the place of whatever the header said, and commas between several.
local function certified_caller(headers)
  local uri = headers:get("x-scopeway-origin") or ""
  local name = sub(uri, #CALLERS + 1)
  if sub(uri, 1, #CALLERS) ~= CALLERS or not is_name(name) then
    return nil
  end
  headers:replace("x-scopeway-origin", name)
  return name
end


-- The same without certificates: who the caller says it is. All without a name are one.
local function claimed_caller(headers)
  local name = headers:get("x-scopeway-origin") or ""
  return is_name(name) and name or NOBODY
end


-- Whether a service may read a form: WebOb does with its type, whatever the method, and with none or a blank
-- one of a POST; of several types a server takes any. The types of Office's documents have "formats".
local function is_form(headers, method)
  local content = headers:get("content-type") or ""
  if find(lower(content), "form-", 1, true) then
    return true
  end
  return method == "POST" and not find(content, "^[^,;%s][^,]*$")
end


-- What the policy takes for the method. Frameworks of services (Routes, Pecan) find another one in a form;
-- a request that says it has no body has none, as Envoy resets it otherwise.
local function method_of(headers, method)
  if is_form(headers, method) and headers:get("content-length") ~= "0" then
    return "form"
  end
  return method
end


local function on_request(handle)
  local headers = handle:headers()
  local caller
  if CALLERS then
    caller = certified_caller(headers)
    if not caller then
      return 403, "a certificate that is not of one cloud"
    end
  else
    caller = claimed_caller(headers)
  end
  -- before anything that costs more; who is denied later has been counted, too
  local status, message, seconds = limits.admit(handle, caller)
  if status then
    return status, message, seconds
  end
  local received = headers:get(":path")
  if not received then
    return 400, "a request without a path"
  end
  if paths.has_dot_segment(received) then
    return 400, "a dot segment in the path"
  elseif paths.names_method(received) then
    return 400, "a method in the query: the policy looks at the request's own"
  end
  local service, path = paths.split(received)
  local target = TARGETS[service]
  if not target then
    return 404, "no service '" .. service .. "' at the peer of " .. SITE
  end
  local method = headers:get(":method")
  if service == VALIDATE then
    if not find(path, TOKENS) or (method ~= "GET" and method ~= "HEAD") then
      return 404, "the peer of " .. SITE .. " answers only validations of a token there"
    end
    headers:replace("x-scopeway-limit", "validation")
  elseif service == "identity" and method == "POST" and find(path, TOKENS) then
    headers:replace("x-scopeway-limit", "login")
  elseif CACHED and service == "identity" and method == "DELETE" and find(path, TOKENS) then
    target = CACHED
  end
  headers:replace("x-scopeway-target", target)
  headers:replace("x-scopeway-service", service)
  headers:replace("x-scopeway-method", method_of(headers, method))
  path, status, message = project_ids.in_path(path, service, headers)
  if not path then
    return status, message
  end
  headers:replace(":path", path)
  status, message = project_ids.in_body(handle, headers, method, path, service)
  if status then
    return status, message
  end
  return adapter.PASS
end


function _M.envoy_on_request(handle)
  adapter.on_request(handle, on_request)
end

return _M
