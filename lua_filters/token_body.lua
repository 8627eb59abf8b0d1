-- The one request body that is read: `auth.identity.token.id` of `POST /v3/auth/tokens`.
--
-- Contract: `strip(body)` takes the scope out of every string at that place of the JSON document,
-- and changes no other byte. It is not a JSON parser: it walks strings and brackets to know where
-- it is. What it doesn't understand it leaves alone; Keystone then refuses a token with a scope in
-- it.
-- Cost: one pass over at most MAX_BYTES bytes.

local tokens = require("tokens")

local byte, find, sub = string.byte, string.find, string.sub
local concat = table.concat

local _M = {}

_M.MAX_BYTES = 65536

local PLACE = { "auth", "identity", "token", "id" }
local MAX_DEPTH = 64
local QUOTE, BACKSLASH = byte('"\\', 1, 2)
local OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET = byte("{}[]", 1, 4)


-- The position of the quote that ends the string that starts at `start`; nil where none does.
local function string_end(body, start)
  local i = start + 1
  while true do
    local code = byte(body, i)
    if code == QUOTE then
      return i
    elseif code == BACKSLASH then
      i = i + 2
    elseif not code then
      return nil
    else
      i = i + 1
    end
  end
end


local function is_key(body, quote)
  return find(body, "^[ \t\r\n]*:", quote + 1) ~= nil
end


-- Whether the keys from the root to here are PLACE.
local function at_place(keys, depth)
  if depth ~= #PLACE then
    return false
  end
  for i = 1, depth do
    if keys[i] ~= PLACE[i] then
      return false
    end
  end
  return true
end


-- The first and last position of the text of the next string at PLACE, from `walk.position` on.
local function next_token(body, walk)
  local keys = walk.keys
  while true do
    local i = find(body, '["{}%[%]]', walk.position)
    if not i or walk.depth > MAX_DEPTH then
      return nil
    end
    local code = byte(body, i)
    walk.position = i + 1
    if code == OPEN_BRACE or code == OPEN_BRACKET then
      walk.depth = walk.depth + 1
      keys[walk.depth] = false
    elseif code == CLOSE_BRACE or code == CLOSE_BRACKET then
      walk.depth = walk.depth - 1
      if walk.depth < 0 then
        return nil
      end
    else
      local quote = string_end(body, i)
      if not quote then
        return nil
      end
      walk.position = quote + 1
      if is_key(body, quote) then
        keys[walk.depth] = sub(body, i + 1, quote - 1)
      elseif at_place(keys, walk.depth) then
        return i + 1, quote - 1
      end
    end
  end
end


-- The body without scopes in its token, and the scope text (of the last one, which is the one that
-- Keystone reads) or nil; nil, nil and a sentence where the token is refused.
function _M.strip(body)
  if not find(body, "~", 1, true) then
    return body
  end
  local walk = { position = 1, depth = 0, keys = {} }
  local parts, done, scope_text = {}, 0, nil
  while true do
    local first, last = next_token(body, walk)
    if not first then
      break
    end
    local bare, text, problem = tokens.split(sub(body, first, last))
    if problem then
      return nil, nil, problem
    end
    parts[#parts + 1] = sub(body, done + 1, first - 1) .. bare
    done, scope_text = last, text
  end
  parts[#parts + 1] = sub(body, done + 1)
  return concat(parts), scope_text
end

return _M
