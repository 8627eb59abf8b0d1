-- The scope in a token: `<token>~1~<completed lexical scope>`.
--
-- Contract: tests/vectors/tokens/split.json. OpenStack's tokens contain no `~`, so the first one
-- ends the token; what follows must be a suffix of a version that we know. 1 is the version. A
-- suffix is not signed: it can ask for what an X-Scope header can ask for, and nothing more.
-- Cost: one plain find for a token without a scope.

local find, sub = string.find, string.sub

local _M = {}

local MARK = "~1~"


function _M.suffix(completed)
  return MARK .. completed
end


-- The bare token, and the scope text in it or nil; nil, nil and a sentence where it is refused.
function _M.split(token)
  local mark = find(token, "~", 1, true)
  if not mark then
    return token
  end
  if sub(token, mark, mark + 2) ~= MARK then
    return nil, nil, "what follows '~' in the token is not a scope of version 1"
  end
  return sub(token, 1, mark - 1), sub(token, mark + 3)
end

return _M
