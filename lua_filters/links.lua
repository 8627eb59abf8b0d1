-- Where an answer sends its client: a `Location` that leads to the service is made to lead to the front
-- that the client spoke to. One that leads elsewhere stays.
--
-- Contract: docs/lua.md, "Links". The route has put before the `Location`, each with a tab behind it: how
-- the client spoke, to whom, the prefix that the front took off, and where the service says that it is.
-- The filter is asked only where an answer has that header, or is of gRPC (grpc_status.lua). Pure but for
-- the hook.
-- Cost: some microseconds for each such answer.

local constants = require("constants")
local plain_status = require("grpc_status")

local byte, find, format, gmatch = string.byte, string.find, string.format, string.gmatch
local gsub, lower, match, sub = string.gsub, string.lower, string.match, string.sub
local pcall, tostring = pcall, tostring
local SERVICES = constants.services

local _M = {}

local SLASH = byte("/")
local DEFAULT_PORT = { http = ":80", https = ":443" }


-- An authority without the port that the scheme means anyhow.
local function host(scheme, authority)
  local port = DEFAULT_PORT[scheme] or ""
  authority = lower(authority)
  if port ~= "" and sub(authority, -#port) == port then
    return sub(authority, 1, -#port - 1)
  end
  return authority
end


-- The prefix as a URL has it: services get it without escapes.
local function escaped(prefix)
  return (gsub(prefix, "[^%w/~:;,._%%-]", function(char)
    return format("%%%02X", byte(char))
  end))
end


-- What stands behind the prefix, where the path begins with it.
local function behind(path, prefix)
  if sub(path, 1, #prefix) ~= prefix or not find(path, "^[/?#]", #prefix + 1) and #path > #prefix then
    return nil
  end
  return sub(path, #prefix + 1)
end


-- The path without the longest prefix under which the service says that it is at this authority (any,
-- where it is nil); nil where it says so of none.
local function stripped(path, authority, places)
  local found
  for place in gmatch(places, "%S+") do
    local at, prefix = match(place, "^([^/]+)(.*)$")
    if at and (not authority or at == authority) then
      local rest = behind(path, prefix)
      if rest and (not found or #rest < #found) then
        found = rest
      end
    end
  end
  return found
end


-- Whether a path is one of the front already: the service has put the prefix there, or means another
-- service. A port of one service has no prefix but a scope.
local function is_of_front(path, prefix)
  if prefix == "" or find(path, "^/~{") or find(path, "^/~%%7[bB]") then
    return true
  end
  local segment = match(path, "^/([^/?#]*)")
  return segment and SERVICES[segment] == segment and find(prefix, "/[^/~]+$")
end


-- What the path is at the front; nil where it isn't the service's. `at_front`: it was said of the front.
local function led(path, authority, at_front, prefix, places)
  local rest = stripped(path, authority, places)
  if rest and (rest ~= path or not at_front) then
    -- a path alone that is empty, or begins with its query, means the one that the client asked for
    local root = prefix == "" and byte(rest) ~= SLASH and "/" or ""
    return escaped(prefix) .. root .. rest
  elseif at_front then
    return is_of_front(path, prefix) and path or escaped(prefix) .. path
  end
end


-- The `Location` that the client gets, where it spoke `scheme` to `authority`.
function _M.led_back(location, scheme, authority, prefix, places)
  if byte(location) == SLASH and byte(location, 2) ~= SLASH then
    local path = led(location, nil, true, prefix, places)
    if sub(path, 1, 2) ~= "//" then
      return path
    end
    -- alone, such a path names another host
    return authority == "" and location or scheme .. "://" .. authority .. path
  end
  if authority == "" then
    return location -- it came by no front
  end
  local its_scheme, its_authority, path = match(location, "^(%a+)://([^/?#]+)(.*)$")
  its_scheme = its_scheme and lower(its_scheme)
  if not its_scheme then
    its_authority, path = match(location, "^//([^/?#]+)(.*)$")
    its_scheme = its_authority and scheme
  end
  if not DEFAULT_PORT[its_scheme] then
    return location -- relative to the path that the client asked for, or no URL of ours at all
  end
  local here = host(its_scheme, its_authority)
  local at_front = here == host(scheme, authority) or here == host(its_scheme, authority)
  path = led(path, here, at_front, prefix, places)
  return path and scheme .. "://" .. authority .. path or location
end


local function edit(handle)
  local headers = handle:headers()
  plain_status.restore(handle, headers)
  headers = handle:headers()
  local value = headers:get("location")
  if not value then
    return
  end
  local scheme, authority, prefix, places, location =
    match(value, "^([^\t]*)\t([^\t]*)\t([^\t]*)\t([^\t]*)\t(.*)$")
  headers:replace("location", _M.led_back(location, scheme, authority, prefix, places))
end


function _M.envoy_on_response(handle)
  local ok, problem = pcall(edit, handle)
  if not ok then
    handle:logErr("scopeway: links filter failed: " .. tostring(problem))
    handle:headers():remove("location") -- half edited, it leads nowhere
  end
end

return _M
