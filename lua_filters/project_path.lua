-- The project's id in a path (`/v3/<id>/volumes`, `/v1/AUTH_<id>/container`), as this site knows it.
--
-- Contract: docs/lua.md, "Ids in paths". Services compare that id with the one of the token, whose ids
-- are this site's already where another cloud issued it. So the last Envoy before the service moves it, and
-- decides nothing by it: an id that isn't moved is one that the service refuses.
-- Cost: one `find` for a path without such an id, and for services that have none in theirs nothing.

local constants = require("constants")
local namespace = require("namespace")
local resolve = require("resolve")
local tokens = require("tokens")

local find, match, sub = string.find, string.match, string.sub

local _M = {}

local SITE = constants.site
local KEPT = constants.kept or {} -- the clouds whose ids are the same here
local MOVED = constants.moved -- where it stands, the only ones whose ids aren't

-- The services whose paths may begin with a version and a project.
local SERVICES = {
  ["block-storage"] = true,
  compute = true,
  database = true,
  ["object-store"] = true,
  orchestration = true,
  ["shared-file-system"] = true,
}
local VERSION = "^/v%d[%d.]*/"
local DIGITS = 32


-- The first and last position of the id; nothing where the path has none there.
local function position(path)
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


-- The one cloud that has issued the token of a scope; nil for the site itself, and for what isn't one.
local function issuer(resolved)
  local cloud = resolved.bindings.identity or resolved.bindings["*"]
  return cloud ~= SITE and match(cloud, "^[a-z0-9-]+$") or nil
end


-- The path for a service of this site, where the scope in the token says who the user is.
function _M.of_token(path, service, headers)
  local first, last
  if SERVICES[service] then
    first, last = position(path)
  end
  if not first then
    return path
  end
  local _, text = tokens.split(headers:get("x-auth-token") or "")
  local resolved = text and resolve.resolve(text)
  local cloud = resolved and issuer(resolved)
  if not cloud or KEPT[cloud] or MOVED and not MOVED[cloud] then
    return path
  end
  local id = namespace.moved(sub(path, first, last), namespace.of(cloud))
  return sub(path, 1, first - 1) .. id .. sub(path, last + 1)
end

return _M
