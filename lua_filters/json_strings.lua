-- The strings of a JSON document, by where they stand, so that one can be replaced and no other byte changes.
--
-- Contract: `each(body, visit)` calls `visit(walk, first, last)` for every string that is a value: its text is
-- `sub(body, first, last)`, escapes and all. `walk.keys[1..walk.depth]` are the names from the root to it as
-- written, false for an array; `walk.object` numbers the objects of the document. `visit` returns true to end it.
-- It is not a parser: it walks strings and brackets to know where it is, and ends at what it doesn't understand.
-- So nobody may be let in by what it finds or doesn't.
-- Cost: one pass.

local byte, sub = string.byte, string.sub

local _M = {}

local MAX_DEPTH = 64
local QUOTE, BACKSLASH, COLON = byte('"\\:', 1, 3)
local OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET = byte("{}[]", 1, 4)
local TAB, NEWLINE, RETURN, SPACE = byte("\t\n\r ", 1, 4)


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


-- Whether the string is a name: whose end the position follows.
local function is_key(body, position)
  local code = byte(body, position)
  while code == SPACE or code == TAB or code == NEWLINE or code == RETURN do
    position = position + 1
    code = byte(body, position)
  end
  return code == COLON
end


-- By bytes and without patterns, so that LuaJIT compiles it: a third of the time.
function _M.each(body, visit)
  local keys, objects = {}, 0
  local walk = { keys = keys, depth = 0, object = 0 }
  local enclosing, i = {}, 1
  while true do
    local code = byte(body, i)
    if not code or walk.depth > MAX_DEPTH then
      return
    elseif code == QUOTE then
      local quote = string_end(body, i)
      if not quote then
        return
      end
      if is_key(body, quote + 1) then
        keys[walk.depth] = sub(body, i + 1, quote - 1)
      elseif visit(walk, i + 1, quote - 1) then
        return
      end
      i = quote
    elseif code == OPEN_BRACE or code == OPEN_BRACKET then
      walk.depth = walk.depth + 1
      keys[walk.depth] = false
      enclosing[walk.depth] = walk.object
      if code == OPEN_BRACE then
        objects = objects + 1
        walk.object = objects
      end
    elseif code == CLOSE_BRACE or code == CLOSE_BRACKET then
      walk.object = enclosing[walk.depth]
      walk.depth = walk.depth - 1
      if walk.depth < 0 then
        return
      end
    end
    i = i + 1
  end
end

return _M
