-- The catalog in a token of another cloud, made to lead to the front of this site.
--
-- Contract: docs/lua.md, "Catalogs". An endpoint keeps its interface, its region and what its path has
-- from the version on; all else of its URL is this front's. A service that the front doesn't know is
-- left out, so a catalog cannot send a service of this site anywhere.
-- Where the front has a region, each endpoint is there a second time, in it.
-- Cost: json.lua's, for tokens of other clouds only.

local constants = require("constants")
local json = require("json")
local paths = require("path")

local find, match, sub = string.find, string.match, string.sub
local ipairs, type = ipairs, type

local _M = {}

local FRONT = constants.front
local SERVICES = constants.services


-- Where this site serves a service, without a slash at its end.
local function base(service)
  local own = FRONT.ports and FRONT.ports[service]
  return own or FRONT.url .. "/" .. service
end


-- What the path of a URL has from its version on ("/v3/<project id>"); nil for none that we know.
local function versioned(url)
  local path = match(url, "^https?://[^/?#]+(.*)$")
  if not path then
    return nil
  end
  local start = find(path, "/v%d")
  local rest = start and sub(path, start) or ""
  if find(rest, "[^%w/._-]") or paths.has_dot_segment(rest) then
    return nil
  end
  return rest
end


-- In which region an endpoint is found: for clients, `region_id` comes first.
local function region_of(made)
  local fields = made.fields
  return fields.region_id ~= json.NULL and fields.region_id or fields.region
end


-- The same endpoint in the region that this site's clients look for.
local function here(made)
  local copy = json.object()
  for _, name in ipairs(made.names) do
    json.set(copy, name, made.fields[name])
  end
  json.set(copy, "region", FRONT.region)
  json.set(copy, "region_id", FRONT.region)
  return copy
end


local function endpoint(node, service)
  local fields = json.is_object(node) and node.fields or {}
  local rest = type(fields.url) == "string" and versioned(fields.url)
  if not rest then
    return nil
  end
  local made = json.object()
  json.set(made, "id", fields.id)
  json.set(made, "interface", fields.interface)
  json.set(made, "region", fields.region)
  json.set(made, "region_id", fields.region_id)
  json.set(made, "url", base(service) .. rest)
  return made
end


local function entry(node)
  local fields = json.is_object(node) and node.fields or {}
  local service = type(fields.type) == "string" and SERVICES[fields.type]
  if not service or not json.is_array(fields.endpoints) then
    return nil
  end
  local made, endpoints = json.object(), json.array()
  json.set(made, "id", fields.id)
  json.set(made, "type", fields.type)
  json.set(made, "name", fields.name)
  for i = 1, fields.endpoints.n do
    local one = endpoint(fields.endpoints[i], service)
    if one then
      json.append(endpoints, one)
    end
    if one and FRONT.region and region_of(one) ~= FRONT.region then
      json.append(endpoints, here(one))
    end
  end
  json.set(made, "endpoints", endpoints)
  return endpoints.n > 0 and made or nil
end


-- The catalog as this site has it; nil where the node is none.
function _M.rewritten(node)
  if not json.is_array(node) then
    return nil
  end
  local made = json.array()
  for i = 1, FRONT and node.n or 0 do
    local one = entry(node[i])
    if one then
      json.append(made, one)
    end
  end
  return made
end

return _M
