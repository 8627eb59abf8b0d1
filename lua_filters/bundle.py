"""One Lua text out of the modules that a filter needs.

Owns the order of the modules and the spelling of constants in Lua. Must not know what the
constants mean. Invariant: the same arguments give the same bytes, so that an unchanged filter is
an unchanged resource in every replica of the control plane.
"""

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib import resources

_COMMON = (
    *("errors", "adapter", "path", "target", "services", "suggestion", "scope", "tokens"),
    *("resolve", "sha256", "namespace", "json_strings", "id_places", "project_ids"),
)
_MODULES = {
    "front": (*_COMMON, "token_body", "pending_response", "identity", "plain_http", "front"),
    "answers": (
        *("errors", "adapter", "path", "pending_response"),
        *("json", "catalog", "sha256", "namespace", "foreign_token", "error_hints"),
        "answers",
    ),
    "peer": (*_COMMON, "limits", "peer"),
    "upgrades": ("errors", "adapter", "upgrades"),
    "dispatch": (*_COMMON, "dispatch"),
    "collect": (*_COMMON, "plain_http", "collect"),
    "links": ("grpc_status", "links"),
}
ENTRIES = tuple(_MODULES)
"""The filters that can be bundled: the last module of each has its hooks."""

_HOOKS = ("envoy_on_request", "envoy_on_response")
_PLAIN = re.compile(r"[-A-Za-z0-9_.]*")
_HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_COMMENT_OR_STRING = re.compile(r"""--[^\n]*|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""")


def bundle(entry: str, constants: Mapping[str, object]) -> str:
    """Returns the Lua text of one filter, with the constants at its top.

    Args:
        entry: One of ENTRIES.
        constants: `services` (every service word to its official type), for all but links `site`
            (the name of the cloud), and for the front `service` (the official type of a listener
            for one service, None for all) and, if wanted, `max_targets` (names that a worker hands
            out), `new_targets_per_second`, `new_targets_burst` (how fast) and `front` (`url` of
            the front, `ports`: official service type to URL, perhaps `region`); without it,
            catalogs of other clouds come out empty. For all but links, `http` (see `http_literal`),
            `clouds_with_kept_ids` and `clouds_with_mapped_ids`, tables of cloud names to true; if
            the last is there, the ids of all other clouds are kept; `caches_validations`: true if
            the site's collector caches validations of tokens. For the peer `limits`
            (`per_second`, `at_once`: of each calling cloud; one that is missing is none).

    Raises:
        KeyError: There is no such entry.
        ValueError: `service` is no official type of `services`; see `http_literal`.
        TypeError: A constant is none of None, bool, int, str, Literal and mappings of these.
    """
    _check_service(constants)
    if "http" in constants and not isinstance(constants["http"], Literal):
        constants = {**constants, "http": http_literal(constants["http"])}
    return f"local modules = {{ constants = {_literal(constants)} }}\n{_modules(entry)}"


def _check_service(constants: Mapping[str, object]) -> None:
    service = constants.get("service")
    services = constants["services"]
    if not isinstance(services, Mapping):
        raise TypeError(f"services is no mapping: {services!r}")
    if service is not None and services.get(service) != service:
        raise ValueError(f"no official service type: {service!r}")


@cache
def _modules(entry: str) -> str:
    """What a filter is besides its constants: the same for all sites."""
    parts = [
        "local function require(name) return modules[name] end",
        *(
            f"modules.{module} = (function()\n{_source(module)}\nend)()"
            for module in _MODULES[entry]
        ),
        *(f"{hook} = modules.{entry}.{hook}" for hook in _HOOKS if hook in _source(entry)),
    ]
    return "\n".join([*parts, ""])


@cache
def _source(module: str) -> str:
    """A module without its comments, indentation and empty lines."""
    text = resources.files("scopeway.lua_filters").joinpath(f"{module}.lua").read_text("utf-8")
    code = _COMMENT_OR_STRING.sub(lambda m: "" if m[0].startswith("--") else m[0], text)
    return "\n".join(line.strip() for line in code.splitlines() if line.strip())


class Literal(str):
    """A constant that is Lua already: what many filters have in common is written once."""


def literal(value: object) -> Literal:
    """Returns a constant as Lua, to be a constant of filters itself.

    Raises:
        TypeError: see `bundle`.
    """
    return Literal(_literal(value))


def http_literal(http: object) -> Literal:
    """Returns the constant `http` as Lua.

    Args:
        http: The official types with the protocol `http`, each to a mapping whose keys are the
            request headers that may go to other clouds, in lower case, and whose values are True.

    Raises:
        ValueError: A type is identity, or a name cannot be that of a header in Envoy.
        TypeError: These are no mappings.
    """
    if not isinstance(http, Mapping):
        raise TypeError(f"http is no mapping: {http!r}")
    for service, forwarded in http.items():
        if service == "identity":
            raise ValueError("identity has no protocol http: the front reads its tokens")
        if not isinstance(forwarded, Mapping):
            raise TypeError(f"http[{service!r}] is no mapping: {forwarded!r}")
        for name, value in forwarded.items():
            if not _HEADER.fullmatch(name) or value is not True:
                raise ValueError(f"http[{service!r}]: no header to forward: {name!r}")
    return literal(http)


def _literal(value: object) -> str:
    match value:
        case Literal():
            return value
        case None:
            return "nil"
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case str():
            return _quoted(value)
        case Mapping() if set(map(type, value.values())) <= {str}:
            return _table_of_words(tuple(sorted(value.items())))
        case Mapping():
            fields = (f"[{_quoted(key)}] = {_literal(value[key])}" for key in sorted(value))
            return "{ " + ", ".join(fields) + " }"
        case _:
            raise TypeError(f"no Lua constant: {value!r}")


@lru_cache(maxsize=16)
def _table_of_words(words: tuple[tuple[str, str], ...]) -> str:
    """A Lua table; the longest is that of all services, which all sites have."""
    return "{ " + ", ".join(f"[{_quoted(key)}] = {_quoted(word)}" for key, word in words) + " }"


@lru_cache(maxsize=1024)
def _quoted(text: str) -> str:
    """A Lua string of the text's UTF-8 bytes; all but plain letters, digits and `-_.` escaped."""
    if _PLAIN.fullmatch(text):
        return f'"{text}"'
    return '"' + "".join(_escaped(byte) for byte in text.encode()) + '"'


def _escaped(byte: int) -> str:
    char = chr(byte)
    plain = byte < 128 and (char.isalnum() or char in "-_.")
    return char if plain else f"\\{byte:03d}"
