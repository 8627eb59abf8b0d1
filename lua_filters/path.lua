-- The parts of a request path that belong to us: a scope in front, and the service.
--
-- Contract: tests/vectors/paths. Everything else stays byte for byte as it came, since object names
-- contain `//`, `%2F` and `;`. Dot segments are refused, not resolved.
-- Cost: two plain finds and a `sub` for a path without dots or escapes.

local byte, char, find, gsub, sub = string.byte, string.char, string.find, string.gsub, string.sub

local _M = {}

local SLASH, DOT, PERCENT, QUESTION, TWO = byte("/.%?2", 1, 5)
local LOWER_E, UPPER_E, LOWER_F, UPPER_F = byte("eEfF", 1, 4)


-- Whether a segment is "." or "..", also where "." or "/" is written with an escape.
function _M.has_dot_segment(path)
  if not (find(path, "/.", 1, true) or find(path, "%2", 1, true)) then
    return false
  end
  local dots = 0 -- since the last slash; -1 when another byte stood there
  local i = 1
  while i <= #path do
    local code = byte(path, i)
    if code == PERCENT and byte(path, i + 1) == TWO then
      local digit = byte(path, i + 2)
      if digit == LOWER_E or digit == UPPER_E then
        code, i = DOT, i + 2
      elseif digit == LOWER_F or digit == UPPER_F then
        code, i = SLASH, i + 2
      end
    end
    if code == QUESTION then
      break
    elseif code == SLASH then
      if dots == 1 or dots == 2 then
        return true
      end
      dots = 0
    elseif code ~= DOT then
      dots = -1
    elseif dots >= 0 then
      dots = dots + 1
    end
    i = i + 1
  end
  return dots == 1 or dots == 2
end


-- The first segment, and the path without it; the query is no part of a segment.
function _M.split(path)
  local stop = find(path, "/", 2, true)
  local segment = sub(path, 2, (stop or 0) - 1)
  local query = find(segment, "?", 1, true)
  if query then
    return sub(segment, 1, query - 1), "/" .. sub(path, query + 1)
  end
  return segment, stop and sub(path, stop) or "/"
end


-- Without its escapes, and how many there were.
local function unescaped(text)
  return gsub(text, "%%(%x%x)", function(digits)
    return char(tonumber(digits, 16))
  end)
end


-- Whether the query has the parameter by which frameworks of OpenStack's services (Routes, Pecan) take
-- another method than the request's.
function _M.names_method(path)
  local query = find(path, "?", 1, true)
  if not query then
    return false
  end
  local text = sub(path, query)
  if find(text, "%", 1, true) then
    text = unescaped(text)
  end
  return find(text, "[?&;]_method%f[=&;%z]") ~= nil
end


local function decoded(text)
  local plain, escapes = unescaped(text)
  local _, percents = gsub(text, "%%", "")
  return escapes == percents and plain or nil
end


-- For "/~{...}/rest": the scope text, "/rest" and "/~{...}". Nothing for any other path. nil, nil,
-- nil and a sentence for escapes that are none. The last is for X-Forwarded-Prefix, which services
-- escape when they make links of it: so it is without escapes, but for bytes that no header may
-- have.
function _M.take_scope(path)
  if not find(path, "^/~{") and not find(path, "^/~%%7[bB]") then
    return
  end
  local segment, rest = _M.split(path)
  local text = decoded(sub(segment, 2))
  if not text then
    return nil, nil, nil, "the scope in the path has an incomplete % escape"
  end
  if find(text, "[^\32-\126]") then
    return text, rest, "/" .. segment
  end
  return text, rest, "/~" .. text
end

return _M
