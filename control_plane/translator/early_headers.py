"""The changes of request headers that a listener makes before any filter sees them.

Envoy's extension `early_header_mutation` makes them. `http_connection_managers` says which listener
makes which.
"""

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import (
    HeaderMutation,
    HeaderMutationRemoveOnMatch,
)
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher

from scopeway.control_plane.translator import names
from scopeway.control_plane.translator.envoy_types import default

OURS = "^x-scopeway-"

NOT_FROM_A_COLLECTOR = (
    *(names.OPERATOR, names.MEMBERS, names.MISSING, names.LISTS, names.ROUTE),
    *(names.ANSWER, names.LIMIT, names.METHOD, names.HONOURED, names.STATUS, names.REASON),
)
"""What a collector got of the front, and what only Lua filters and routes may say."""

UNDERSCORES = "x_.*|x-(auth|subject|service|storage|forwarded|scopeway)_.*|content_(type|length)"
"""WSGI may read `x_auth_token` as X-Auth-Token, so these would pass by what the proxy decides.
Swift's `x-object-meta-a_b` is none of them."""


def all_but(word: str) -> list[str]:
    """Return regular expressions (RE2, of the whole text), one of which fits all but one word.

    Either case is meant. One expression would be larger than Envoy before 1.39 takes.
    """
    parts, common = [], ""
    for char in word:
        either = f"{char.lower()}{char.upper()}"
        parts.append(f"{common}([^{either}].*)?")
        common += f"[{either}]"
    return [*parts, f"{common}.+"]


def all_but_words(*words: str) -> list[str]:
    """Return regular expressions (RE2, of the whole text), one of which fits all but some words.

    No two words begin alike. One expression for several would be larger than Envoy takes.
    """
    others = f"[^{''.join(word[0] for word in words)}].*"
    first, *more = (f"{word[0]}{_all_but(word[1:])}" for word in words)
    return [f"({others}|{first})?", *more]


def _all_but(rest: str) -> str:
    return f"([^{rest[0]}].*|{rest[0]}{_all_but(rest[1:])})?" if rest else ".+"


def one_name_of_tokens() -> list[HeaderMutation]:
    """Services take `X-Storage-Token`, Swift's old name, where there is no `X-Auth-Token`."""
    other = "x-storage-token"
    return [
        HeaderMutation(append=default("x-auth-token", f"%REQ({other})%")),
        HeaderMutation(remove=other),
    ]


def prefixed(prefix: str) -> HeaderMutation:
    """Return the removal of all headers that begin like this."""
    return _matching(StringMatcher(prefix=prefix))


def like(regex: str) -> HeaderMutation:
    """Return the removal of all headers that an expression (RE2) fits, as a whole."""
    return _matching(StringMatcher(safe_regex=RegexMatcher(regex=regex)))


def _matching(names_of: StringMatcher) -> HeaderMutation:
    return HeaderMutation(remove_on_match=HeaderMutationRemoveOnMatch(key_matcher=names_of))
