-- "Did you mean": the service word that one edit makes of another word.
--
-- Contract: tests/vectors/scope/suggestions.json, which control_plane/scope/services.py follows, too. An edit
-- is a character more, one less, another one, or two neighbours swapped. Both words have at least 3 characters.
-- Cost: only for words that are refused. It compares a word with those of nearly its length, each in one pass.

local constants = require("constants")

local byte, sub = string.byte, string.sub
local ipairs, pairs = ipairs, pairs

local _M = {}

local SHORTEST = 3
local LENGTHS = { -1, 0, 1 }

local words_by_length -- made at first use: most states refuse nothing


local function by_length()
  local made = {}
  for word in pairs(constants.services) do
    if #word >= SHORTEST then
      made[#word] = made[#word] or {}
      made[#word][#made[#word] + 1] = word
    end
  end
  return made
end


-- Whether one edit makes the known word of the other one; the two differ.
local function is_one_edit_away(word, known)
  local length, known_length = #word, #known
  local same = 1 -- the first position at which they differ
  while same <= length and byte(word, same) == byte(known, same) do
    same = same + 1
  end
  if length < known_length then
    return sub(word, same) == sub(known, same + 1)
  elseif length > known_length then
    return sub(word, same + 1) == sub(known, same)
  end
  local rest, known_rest = sub(word, same + 1), sub(known, same + 1)
  if rest == known_rest then
    return true
  end
  return byte(word, same) == byte(known, same + 1)
    and byte(word, same + 1) == byte(known, same)
    and sub(word, same + 2) == sub(known, same + 2)
end


-- The first such word in the order of bytes, or nil.
function _M.suggestion(word)
  local length = #word
  if length < SHORTEST then
    return nil
  end
  words_by_length = words_by_length or by_length()
  local best
  for _, difference in ipairs(LENGTHS) do
    for _, known in ipairs(words_by_length[length + difference] or {}) do
      if known ~= word and (not best or known < best) and is_one_edit_away(word, known) then
        best = known
      end
    end
  end
  return best
end

return _M
