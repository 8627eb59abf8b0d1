-- What counts here of a token that another cloud's Keystone gave out.
--
-- Contract: docs/lua.md, "A foreign token". Only what is known comes through: the roles that the policy
-- allows, and ids in the namespace of the cloud that issued the token. Pure: text in, text out.
-- Cost: json.lua's, for validations at other clouds only.

local catalog = require("catalog")
local json = require("json")
local namespaces = require("namespace")

local find, gmatch, match = string.find, string.gmatch, string.match
local error, ipairs, pcall, type = error, ipairs, pcall, type

local _M = {}

local MAX_ID = 64 -- as in Keystone's own tables
local UNKNOWN = "a token that is valid for the whole system of another cloud isn't valid here"


-- Leaves `edit`, which makes a refusal of it.
local function refuse(status, message)
  error({ status = status, message = message }, 0)
end


local function unexpected(what)
  refuse(502, "the token of another cloud has an unexpected " .. what)
end


local function id(text, namespace)
  if type(text) ~= "string" or #text > MAX_ID or not find(text, "^[!-~]+$") then
    unexpected("id")
  end
  return namespaces.mapped_id(text, namespace)
end


local function object_of(node, what)
  return json.is_object(node) and node.fields or unexpected(what)
end


-- The domain of a project that is a domain itself has no id; some policies take none for a good one.
local function domain(node, namespace)
  local fields, made = object_of(node, "domain"), json.object()
  local nameless = fields.id == json.NULL
  json.set(made, "id", nameless and namespace ~= "" and namespace or nameless and json.NULL
    or id(fields.id, namespace))
  json.set(made, "name", fields.name)
  return made
end


-- A user or a project.
local function owner(node, namespace)
  local fields, made = object_of(node, "user or project"), json.object()
  json.set(made, "id", id(fields.id, namespace))
  json.set(made, "name", fields.name)
  json.set(made, "domain", domain(fields.domain, namespace))
  json.set(made, "password_expires_at", fields.password_expires_at)
  return made
end


local function roles(node, _, allowed)
  if not json.is_array(node) then
    unexpected("list of roles")
  end
  local made = json.array()
  for i = 1, node.n do
    local fields = object_of(node[i], "role")
    if allowed[fields.name] then
      local role = json.object()
      json.set(role, "id", fields.id)
      json.set(role, "name", fields.name)
      json.append(made, role)
    end
  end
  return made
end


local function trust(node, namespace)
  local fields, made = object_of(node, "trust"), json.object()
  json.set(made, "id", id(fields.id, namespace))
  json.set(made, "impersonation", fields.impersonation)
  for _, name in ipairs({ "trustee_user", "trustor_user" }) do
    local user = json.object()
    json.set(user, "id", id(object_of(fields[name], name).id, namespace))
    json.set(made, name, user)
  end
  return made
end


local function endpoints(node)
  return catalog.rewritten(node) or unexpected("catalog")
end


local function unchanged(node)
  return node
end


-- What comes through, and how. The last four restrict what a token is good for, or when.
local FIELDS = {
  user = owner,
  project = owner,
  domain = domain,
  roles = roles,
  catalog = endpoints,
  ["OS-TRUST:trust"] = trust,
  is_domain = unchanged,
  methods = unchanged,
  audit_ids = unchanged,
  issued_at = unchanged,
  expires_at = unchanged,
  bind = unchanged,
  oauth2_credential = unchanged,
  application_credential = unchanged,
}


local function edited(body, namespace, allowed)
  local document, problem = json.decode(body)
  if document == nil then
    refuse(502, "the token of another cloud is not JSON: " .. problem)
  end
  local token = object_of(document, "form").token
  if object_of(token, "form").system ~= nil then
    refuse(404, UNKNOWN)
  end
  local made = json.object()
  for _, name in ipairs(token.names) do
    local edit = FIELDS[name]
    if edit then
      json.set(made, name, edit(token.fields[name], namespace, allowed))
    end
  end
  if not made.fields.user then
    unexpected("form")
  end
  json.set(made, "is_admin_project", false) -- whoever reads none takes it for true
  local answer = json.object()
  json.set(answer, "token", made)
  return json.encode(answer)
end


-- The body of an answer as this site takes it, where `honoured` is "<namespace>;<role>,<role>"; nil, a
-- status and a sentence where it is refused.
function _M.edit(body, honoured)
  local namespace, list = match(honoured, "^([0-9a-f]*);(.*)$")
  local allowed = {}
  for role in gmatch(list, "[^,]+") do
    allowed[role] = true
  end
  local ok, result = pcall(edited, body, namespace, allowed)
  if ok then
    return result
  elseif type(result) == "table" then
    return nil, result.status, result.message
  end
  error(result, 0)
end

return _M
