-- The front: which target serves a request of this site's clients and services.
--
-- Contract: docs/lua.md, "The front". Constants say whether the listener serves one service (paths
-- untouched) or all (the first segment of the path names it).
-- Cost: the number of calls on the handle (0.4 to 1 µs each) decides, so a header is read only
-- where its value matters, and the usual X-Forwarded-Prefix is left to the route.

local adapter = require("adapter")
local pending_response = require("pending_response")
local constants = require("constants")
local identity = require("identity")
local paths = require("path")
local plain_http = require("plain_http")
local project_ids = require("project_ids")
local resolve = require("resolve")
local services = require("services")
local suggestions = require("suggestion")
local targets = require("target")
local tokens = require("tokens")

local byte = string.byte
local HOME, HTTP = services.HOME, services.HTTP
local SITE, LISTENER_SERVICE = constants.site, constants.service
local TILDE = byte("~")

local _M = {}


-- Says what a path should have begun with: a project's name, for one, means a service in scopes only.
local function unknown(segment)
  local words = constants.services
  local like = words[segment] or words[suggestions.suggestion(segment)]
  local hint = like and "; did you mean /" .. like .. "/?" or ": a path begins like /image/"
  return "no service '" .. segment .. "' at " .. SITE .. hint
end


-- The service and the path to send; with a scope in the path also the prefix that was taken off, and
-- its text. Or nil, a status and a sentence.
local function address(path)
  local text, prefix
  if byte(path, 2) == TILDE then
    local rest, problem
    text, rest, prefix, problem = paths.take_scope(path)
    if problem then
      return nil, 400, problem
    end
    path = rest or path
  end
  if LISTENER_SERVICE then
    return LISTENER_SERVICE, path, prefix, text
  end
  local segment, rest = paths.split(path)
  if not HOME[segment] then
    return nil, 404, unknown(segment)
  end
  return segment, rest, prefix and prefix .. "/" .. segment, text
end


-- The target for services of OpenStack but identity; the scope travels on in the token.
local function choose(handle, headers, service, path, path_text)
  local text, problem = adapter.single(headers, "x-scope")
  if problem then
    return nil, 400, problem
  end
  local token, bare, token_text
  token, problem = adapter.single(headers, "x-auth-token")
  if problem then
    return nil, 400, problem
  end
  if token then
    bare, token_text, problem = tokens.split(token)
    if problem then
      return nil, 400, problem
    end
  end
  local carried = not text and token_text ~= nil
  text = text or token_text or path_text
  if not text then
    return HOME[service]
  end
  local resolved
  resolved, problem = resolve.resolve(text, carried)
  if not resolved then
    return nil, 400, problem
  end
  if token then
    local with_scope = bare .. resolved.suffix
    if with_scope ~= token then
      headers:replace("x-auth-token", with_scope)
    end
  end
  local target = resolve.target(resolved, service)
  if token and target.issuer and not target.fanout then
    local id, where, cloud = project_ids.mentioned(path, service)
    local more = { issuer = target.issuer, id = id, where = where, id_of = cloud }
    pending_response.expect(handle, pending_response.FOREIGN_USER, more)
  end
  return target
end


-- What a scoped target asks for; a status and a sentence where there are too many of them. `forwarded`: for a
-- service of the protocol `http`, the headers that may go to another cloud.
local function prepare(headers, target, forwarded)
  local admitted, problem = targets.admit(target)
  if not admitted then
    return 429, problem
  end
  if target.fanout then -- to the collector of this site: the listener `collect` drops what no other cloud may get
    headers:replace("x-scopeway-route", "fanout")
    return
  end
  if forwarded then
    plain_http.drop(headers, forwarded)
    headers:replace("x-scopeway-route", "http")
  else
    headers:remove("x-service-token")
  end
  if target.spread then
    local method = headers:get(":method")
    if method == "GET" or method == "HEAD" then
      headers:replace("x-envoy-retry-on", "gateway-error,retriable-status-codes,reset")
      headers:replace("x-envoy-retriable-status-codes", "404")
    end
  end
end


local function on_request(handle)
  local headers = handle:headers()
  local received = headers:get(":path")
  if not received then
    return 400, "a request without a path"
  end
  if paths.has_dot_segment(received) then
    return 400, "a dot segment in the path"
  end
  local service, path, prefix, text = address(received)
  if not service then
    return path, prefix
  end
  if text then -- also where another scope is used: it goes out in X-Forwarded-Prefix
    local resolved, problem = resolve.resolve(text)
    if not resolved then
      return 400, problem
    end
  end

  local forwarded = HTTP[service]
  local target, status, message, own
  if forwarded then
    target, status, message = plain_http.choose(headers, service, text)
  elseif service == "identity" then
    target, status, message = identity.choose(handle, headers, path, text)
    headers = handle:headers() -- the old object is dead where a body was waited for
  else
    target, status, message = choose(handle, headers, service, path, text)
  end
  if not target then
    return status, message
  end
  if target.foreign then
    status, message = prepare(headers, target, forwarded)
    if status then
      return status, message
    end
  elseif target ~= HOME[service] then -- a scope, but no other site's Envoy behind this one
    own = true
    path, status, message = project_ids.in_path(path, service, headers)
    if not path then
      return status, message
    end
  end

  headers:replace("x-scopeway-target", target.name)
  headers:replace("x-scopeway-service", service)
  if path ~= received then
    headers:replace(":path", path)
  end
  if prefix then -- without a scope in the path the route knows it
    headers:replace("x-forwarded-prefix", prefix)
  end
  if own then
    status, message = project_ids.in_body(handle, headers, headers:get(":method"), path, service)
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
