-- The answers that a filter gives itself, shaped like OpenStack's.
--
-- Contract: {"error": {"code", "title", "message"}}. Messages may quote the user's bytes: all but
-- printable ASCII is escaped.

local byte, format, gsub = string.byte, string.format, string.gsub

local _M = {}

_M.CONTENT_TYPE = "application/json"

local TITLES = {
  [400] = "Bad Request",
  [401] = "Unauthorized",
  [403] = "Forbidden",
  [404] = "Not Found",
  [413] = "Request Entity Too Large",
  [429] = "Too Many Requests",
  [500] = "Internal Server Error",
  [502] = "Bad Gateway",
}


local function escaped(char)
  return format("\\u%04x", byte(char))
end


function _M.body(status, message)
  local text = gsub(message, '[%z\1-\31"\\\127-\255]', escaped)
  return format(
    '{"error": {"code": %d, "title": "%s", "message": "%s"}}',
    status,
    TITLES[status],
    text
  )
end

return _M
