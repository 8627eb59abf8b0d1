-- What a request tells the filter of its answer: answers.lua, a Lua of its own.
--
-- Contract: `expect` leaves in the metadata what is to be done, and sets the header by which the route
-- runs that Lua on the answer. Clients cannot set it: the listener removes x-scopeway-*.

local _M = {}

_M.NAMESPACE = "scopeway"

-- What is done with an answer (the values of the metadata `answer`).
_M.LOGIN, _M.FOREIGN_LOGIN = "login", "foreign login"
_M.VALIDATION, _M.HEAD_VALIDATION = "validation", "head"
_M.CATALOG = "catalog"


-- `suffix` is for logins. Gets the headers anew, since a body may have been waited for.
function _M.expect(handle, what, suffix)
  local metadata = handle:streamInfo():dynamicMetadata()
  metadata:set(_M.NAMESPACE, "answer", what)
  if suffix then
    metadata:set(_M.NAMESPACE, "suffix", suffix)
  end
  handle:headers():replace("x-scopeway-answer", "awaited")
end

return _M
