-- The ids of projects and users in a request, as this site knows them.
--
-- Contract: docs/foreign-ids.md. A user of another cloud writes the ids of that cloud; services compare them
-- with those of the token, which are this site's already (foreign_token.lua). So the last Envoy before the service moves
-- them, in the path, the query and the body (id_places.lua), and decides nothing by it: an id that isn't moved is
-- one of nobody whom the service knows. `<id>@<cloud>` is an id of that cloud, this site's own too.
-- Cost: one `match` for a path of a service that has such places; a body is read only where a foreign user
-- writes to a place that may have one.

local constants = require("constants")
local json_strings = require("json_strings")
local namespace = require("namespace")
local places = require("id_places")
local resolve = require("resolve")
local tokens = require("tokens")

local byte, char, find, gmatch, gsub = string.byte, string.char, string.find, string.gmatch, string.gsub
local match, sub, tonumber = string.match, string.sub, tonumber
local concat, ipairs, pairs = table.concat, ipairs, pairs

local _M = {}

local SITE = constants.site
local KEPT = constants.clouds_with_kept_ids or {}
local MAPPED = constants.clouds_with_mapped_ids -- nil: all but those in KEPT

_M.MAX_BYTES = 65536
local NO_LENGTH = "a request of another cloud's user that may name a project needs a Content-Length at %s"
local TOO_LONG = "the body of a request of another cloud's user that may name a project has at most "
  .. _M.MAX_BYTES .. " bytes at %s: send less at once"
local REFUSED = "the id %s in this path of " .. SITE .. "'s %s service is of no use to a user of %s: %s"

-- The services whose paths may begin with a version and a project.
local WITH_PROJECT = {
  ["block-storage"] = true,
  compute = true,
  database = true,
  ["object-store"] = true,
  orchestration = true,
  ["shared-file-system"] = true,
}
local VERSION = "^/v%d[%d.]*/"
local DIGITS, MOST_DIGITS = 32, 64 -- of the id of a project, of a user that LDAP has
local MAX_NAME = 63 -- bytes of a cloud's name
local SLASH, DOT, QUESTION = byte("/.?", 1, 3)


-- A path of id_places.lua as a pattern of Lua; what stands behind `<id>` doesn't count.
local function pattern(path)
  if path == "**" then
    return ""
  end
  path = gsub(path, "<id>.*", "")
  return "^" .. gsub(gsub(path, "[%-.]", "%%%0"), "%*", "[^/?]+")
end


-- The places of each service in the form in which they are looked for.
local PLACES = {}
for service, of_service in pairs(places) do
  local made = { paths = {}, queries = {}, bodies = {} }
  for _, path in ipairs(of_service.paths) do
    made.paths[#made.paths + 1] = { start = pattern(path) }
  end
  for path, why in pairs(of_service.refused or {}) do
    made.paths[#made.paths + 1] = { start = pattern(path), why = why }
  end
  for _, name in ipairs(of_service.queries) do
    made.queries[name] = true
  end
  for _, body in ipairs(of_service.bodies) do
    local method, where, text = body[1], pattern(body[2]), body[3]
    local names = {}
    for name in gmatch(text, "[^.]+") do
      names[#names + 1] = name
    end
    made.bodies[method] = made.bodies[method] or {}
    made.bodies[method][#made.bodies[method] + 1] = {
      path = where == "" and "" or where .. "/?%f[?%z]",
      names = names,
      member = match(text, "^/(.+)$"), -- of a JSON patch
      word = '"' .. match(text, "[^./]+$") .. '"', -- without it the body has no such place
      patch = match(text, "^/") and text,
    }
  end
  PLACES[service] = made
end


-- Whether the ids of the cloud are mapped into its namespace here.
local function are_mapped(cloud)
  return cloud ~= SITE and not KEPT[cloud] and (not MAPPED or MAPPED[cloud])
end


-- The one cloud that has issued the token of a scope; nil where that is none, or one whose ids are the same here.
local function issuer(headers)
  local _, text = tokens.split(headers:get("x-auth-token") or "")
  local resolved = text and resolve.resolve(text, true)
  local cloud = resolved and match(resolved.bindings.identity or resolved.bindings["*"], "^[a-z0-9-]+$")
  return cloud and are_mapped(cloud) and cloud or nil
end


-- The id as this site knows it, of a project or user of the cloud.
local function here(id, cloud)
  return are_mapped(cloud) and namespace.mapped_id(id, namespace.of(cloud)) or id
end


local function unescaped(text)
  return (gsub(text, "%%(%x%x)", function(digits)
    return char(tonumber(digits, 16))
  end))
end


-- Where an id ends that begins at the position, and the cloud that it names; nothing where none begins there.
local function id_end(text, first)
  local _, last = find(text, "^[0-9a-f]+", first)
  if not last or last < first + DIGITS - 1 or last >= first + MOST_DIGITS then
    return nil
  end
  local _, stop, cloud = find(text, "^@([a-z0-9-]+)", last + 1)
  if not stop then
    _, stop, cloud = find(text, "^%%40([a-z0-9-]+)", last + 1)
  end
  if stop and #cloud > MAX_NAME then
    return nil
  end
  return last, stop or last, cloud
end


-- A text that is nothing but an id, as this site knows it; any other as it is.
local function mapped_text(text, cloud)
  local last, stop, named = id_end(text, 1)
  if stop == #text then
    return here(sub(text, 1, last), named or cloud)
  end
  return text
end


-- The first and last position of the project's id behind the version; nothing where the path has none there.
local function project(path)
  local _, stop = find(path, VERSION)
  if not stop then
    return nil
  end
  local first = sub(path, stop + 1, stop + 5) == "AUTH_" and stop + 6 or stop + 1
  local _, last = find(path, "^[0-9a-f]+", first)
  if last == first + DIGITS - 1 and (last == #path or find(path, "^[/?]", last + 1)) then
    return first, last
  end
end


-- The position of the slash behind the version and the project.
local function behind(path, service)
  local _, stop = find(path, VERSION)
  if not stop then
    return nil
  elseif WITH_PROJECT[service] then
    local _, last = project(path)
    return last and last + 1 or stop
  end
  return stop
end


-- The first position of the id of a place in the path, its last, that of the cloud that it names, that, and why
-- the place is refused.
local function place_in_path(path, service)
  local of_service = PLACES[service]
  local start = of_service and behind(path, service)
  if not start then
    return nil
  end
  local rest = sub(path, start)
  for _, one in ipairs(of_service.paths) do
    local _, stop = find(rest, one.start)
    if stop then
      local first = start + stop
      local last, named_stop, cloud = id_end(path, first)
      local code = last and byte(path, named_stop + 1)
      if last and (not code or code == SLASH or code == DOT or code == QUESTION) then
        return first, last, named_stop, cloud, one.why
      end
      return nil
    end
  end
end


-- The id in the path or the query of a request that a service may refuse for it; nil where there is none. Gives
-- its text, where it stands, and the cloud that it names, "" where that is the user's own; nil where it isn't moved.
function _M.mentioned(path, service)
  local first, last, stop, cloud = place_in_path(path, service)
  if first then
    return sub(path, first, last), "path", cloud or ""
  end
  local of_service = PLACES[service]
  for name, value in gmatch(of_service and match(path, "%?(.*)") or "", "([^&;=]+)=([^&;]*)") do
    if of_service.queries[unescaped(name)] then
      value = unescaped(value)
      last, stop, cloud = id_end(value, 1)
      if stop == #value then
        return sub(value, 1, last), "query", cloud or ""
      end
    end
  end
  local start = service ~= "object-store" and behind(path, service) -- names of objects look like ids
  while start do
    last = id_end(path, start + 1)
    if last and find(path, "^%f[/?%z]", last + 1) then
      return sub(path, start + 1, last), "path"
    end
    start = find(path, "[/?]", start + 1)
    if start and byte(path, start) == QUESTION then
      return nil
    end
  end
end


-- Calls `change` with the text of each id in a parameter of the query that is a place, for what it becomes.
local function in_query(path, service, change)
  local of_service = PLACES[service]
  local start = of_service and find(path, "?", 1, true)
  if not start then
    return path
  end
  local before = sub(path, 1, start)
  local query = gsub(sub(path, start + 1), "([^&;=]+)=([^&;]*)", function(name, value)
    if of_service.queries[unescaped(name)] then
      local plain = unescaped(value)
      local changed = change(plain)
      return changed ~= plain and name .. "=" .. changed or nil
    end
  end)
  return before .. query
end


local function map_query_ids(path, service, cloud)
  return in_query(path, service, function(text)
    return mapped_text(text, cloud)
  end)
end


-- The path for a service of this site, where the scope in the token says who the user is; nil, a status and a
-- sentence where that is refused.
function _M.in_path(path, service, headers)
  local first, last
  if WITH_PROJECT[service] then
    first, last = project(path)
  end
  local of_service = PLACES[service]
  if not first and not of_service then
    return path
  end
  local at, at_last, at_stop, named, why = place_in_path(path, service)
  local query = of_service and find(path, "?", 1, true)
  if not first and not at and not query then
    return path
  end
  local cloud = issuer(headers)
  if not cloud then
    return path
  end
  if why then
    return nil, 501, REFUSED:format(sub(path, at, at_last), service, cloud, why)
  end
  local parts, done = {}, 0
  if first then
    parts[1], done = sub(path, 1, first - 1) .. here(sub(path, first, last), cloud), last
  end
  if at then
    parts[#parts + 1] = sub(path, done + 1, at - 1) .. here(sub(path, at, at_last), named or cloud)
    done = at_stop
  end
  parts[#parts + 1] = sub(path, done + 1)
  path = concat(parts)
  return query and map_query_ids(path, service, cloud) or path
end


-- The places of the body of a request; nil where it has none.
local function places_in_body(method, path, service)
  local of_service = PLACES[service]
  local all = of_service and of_service.bodies[method]
  local start = all and behind(path, service)
  if not start then
    return nil
  end
  -- Cinder takes the format behind a path as well
  local rest, found = gsub(sub(path, start), "%.json(/?)%f[?%z]", "%1", 1), nil
  for _, place in ipairs(all) do
    if find(rest, place.path) then
      found = found or {}
      found[#found + 1] = place
    end
  end
  return found
end


-- Whether the names from the root to a string are those of the place, the lists between them left out.
local function is_at(walk, names)
  local wanted = 1
  for i = 1, walk.depth do
    local key = walk.keys[i]
    if key then
      if names[wanted] ~= key and names[wanted] ~= "*" then
        return false
      end
      wanted = wanted + 1
    end
  end
  return wanted == #names + 1
end


-- What an operation of a JSON patch changes stands at the first of these; in those of Glance's API 2.0, which it
-- still takes, at the others.
local PATCHES = { path = true, add = true, replace = true }


-- The name of a string in an operation of a JSON patch; nil where it stands elsewhere.
local function name_in_patch(walk)
  local keys = walk.keys
  return walk.depth == 2 and keys[1] == false and keys[2] or nil
end


-- The first and last position of each text in a body that is at one of the places, in their order.
local function texts(body, found)
  local list, values, wanted = {}, {}, {}
  json_strings.each(body, function(walk, first, last)
    for _, place in ipairs(found) do
      local name = place.patch and name_in_patch(walk)
      if name and PATCHES[name] then
        -- slashes at the start: whether a service ignores more than one is up to it
        wanted[walk.object] = match(sub(body, first, last), "^/+(.*)$") == place.member or nil
      elseif name == "value" then
        values[#values + 1] = { first, last, walk.object }
      elseif not place.patch and is_at(walk, place.names) then
        list[#list + 1] = { first, last }
        return
      end
    end
  end)
  for _, value in ipairs(values) do
    list[#list + 1] = wanted[value[3]] and value or nil
  end
  return list
end


local function map_body_ids(body, found, cloud)
  local parts, done = {}, 0
  for _, one in ipairs(texts(body, found)) do
    local first, last = one[1], one[2]
    parts[#parts + 1] = sub(body, done + 1, first - 1) .. mapped_text(sub(body, first, last), cloud)
    done = last
  end
  parts[#parts + 1] = sub(body, done + 1)
  return concat(parts)
end


local function may_have(body, found)
  for _, place in ipairs(found) do
    if find(body, place.word, 1, true) or place.patch and find(body, place.patch, 1, true) then
      return true
    end
  end
end


-- Moves the ids in the body of a request for a service of this site; a status and a sentence where it can't be
-- read. Waits for the body, so headers that were got before are dead; has to be the last of all.
function _M.in_body(handle, headers, method, path, service)
  local found = places_in_body(method, path, service)
  local cloud = found and issuer(headers)
  if not cloud then
    return
  end
  local announced = headers:get("content-length")
  if not announced or not find(announced, "^%d+$") then
    return 411, NO_LENGTH:format(SITE)
  end
  local length = tonumber(announced)
  if length > _M.MAX_BYTES then
    return 413, TOO_LONG:format(SITE)
  end
  local buffer = length > 0 and handle:body()
  if not buffer then
    return
  end
  length = buffer:length()
  if length > _M.MAX_BYTES then
    return 413, TOO_LONG:format(SITE)
  end
  local received = buffer:getBytes(0, length)
  if may_have(received, found) then
    local body = map_body_ids(received, found, cloud)
    if body ~= received then
      buffer:setBytes(body)
    end
  end
end

-- Both, of a request whose path names no service any more; a status and a sentence where it is refused.
function _M.in_request(handle, headers, service)
  local received = headers:get(":path")
  local path, status, message = _M.in_path(received, service, headers)
  if not path then
    return status, message
  elseif path ~= received then
    headers:replace(":path", path)
  end
  return _M.in_body(handle, headers, headers:get(":method"), path, service)
end

return _M
