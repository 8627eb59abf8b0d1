-- What a request tells the filter of its answer: answers.lua, a Lua of its own.
--
-- Contract: `expect` leaves in the metadata what is to be done, and sets the header by which the route
-- runs that Lua on the answer. Clients cannot set it: the listener removes x-scopeway-*.

local _M = {}

_M.NAMESPACE = "scopeway"

-- What is done with an answer (the values of the metadata `answer`).
_M.LOGIN, _M.FOREIGN_LOGIN = "login", "foreign login"
_M.VALIDATION, _M.HEAD_VALIDATION = "validation", "head"
_M.OWN_TOKEN = "own token" -- a validation that a user asks for, not a service
_M.FOREIGN_USER = "foreign user" -- of a service of another cloud than that of the user's Keystone
_M.CATALOG = "catalog"


-- `more` is for logins a `suffix`; for foreign users the `issuer` of the token, and of an id in the path or query that
-- id, `where` it stands and `id_of`, the cloud that it names (project_ids.mentioned). Gets the headers anew,
-- since a body may have been waited for.
function _M.expect(handle, what, more)
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set(_M.NAMESPACE, "answer", what)
  for key, value in pairs(more or {}) do
    metadata:set(_M.NAMESPACE, key, value)
  end
  handle:headers():replace("x-scopeway-answer", "awaited")
end

return _M
