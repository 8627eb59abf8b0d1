"""The schemas of single values: the rules of `clouds.validators`, as patterns and CEL.

A rule in CEL has words of ours. A pattern costs nothing of the budget that CEL has, so the entries
of lists of clouds have one.
"""

from collections.abc import Iterable, Mapping, Sequence
from re import Pattern

from scopeway.control_plane.clouds import limits, validators
from scopeway.control_plane.custom_resources.schema import Schema, integer, list_of, rule, text
from scopeway.control_plane.scope import MAX_SERVICE_TYPE, SERVICE_TYPE, built_in

# RE2's \s is validators.BLANKS
_PAIR = rf"\s*{validators.LABEL.pattern}\s*=\s*{validators.LABEL.pattern}\s*"
CLOUD_PATTERN = rf"{validators.NAME.pattern}|\[{_PAIR}(?:,{_PAIR})*\]"
"""A name, or `[label=value,...]`. The admission policy checks the number of labels."""
PRINTABLE = r"[\p{L}\p{M}\p{N}\p{P}\p{S} ]"
"""What str.isprintable() lets pass."""

_AUTHORITY_PORT = "int(self.substring(self.lastIndexOf(':') + 1))"
_BRACKETS = "self.substring(self.indexOf('[') + 1, self.indexOf(']'))"


def matches(pattern: str | Pattern[str], value: str = "self") -> str:
    """Return the expression that a text matches a pattern as a whole."""
    found = pattern if isinstance(pattern, str) else pattern.pattern
    return f'{value}.matches(r"^(?:{found})$")'


def quoted(words: Iterable[str]) -> str:
    """Return a list of words in CEL."""
    return "[" + ", ".join(f"'{word}'" for word in words) + "]"


def quoted_map(words: Mapping[str, str]) -> str:
    """Return a map of words in CEL."""
    return "{" + ", ".join(f"'{key}': '{value}'" for key, value in words.items()) + "}"


def in_cel(words: str) -> str:
    """Return words as they stand in a CEL text between single quotes."""
    return words.replace("\\", "\\\\").replace("'", "\\'")


def port(description: str) -> Schema:
    """Return a TCP port."""
    return integer(description, *validators.PORT_RANGE)


def address(description: str) -> Schema:
    """Return an IP address or a host name to connect to."""
    return text(
        description,
        least=1,
        most=validators.MAX_HOST,
        rules=[
            rule(
                f"isIP(self) || {matches(validators.HOST_NAME)}",
                "is not an IP address or a host name; write an IPv4 address without '::ffff:', and "
                "an address without a zone",
            ),
            rule(
                f"self.contains(':') || isIP(self) || !{matches(validators.NUMBER)}",
                "is not an IP address: write it as four numbers, such as 127.0.0.1",
            ),
            rule(
                "!isIP(self) || !ip(self).isUnspecified()",
                "can be listened on but not connected to; use it in bind",
            ),
        ],
    )


def bind(description: str) -> Schema:
    """Return an IP address to listen on."""
    why = "is not an IP address to listen on"
    return text(description, least=1, most=45, rules=[rule("isIP(self)", why)])


def listener_rules() -> list[Schema]:
    """Return the rule that a front and a peer share."""
    return [
        rule(
            "!has(self.address) || isIP(self.address) || has(self.bind)",
            "is needed, because address is not an IP address to listen on",
            at=".bind",
            words="'address \"' + self.address + '\" is not an IP address to listen on'",
            reason="FieldValueRequired",
        )
    ]


def host(description: str) -> Schema:
    """Return the value of a Host header."""
    why = "is not a host as in a Host header: a name or an IP address, perhaps with a port"
    rules = _authority_rules(matches(validators.AUTHORITY), why)
    return text(description, least=1, most=validators.MAX_HOST + 6, rules=rules)


def url(description: str) -> Schema:
    """Return the URL of a front."""
    why = "is not http:// or https:// and a host, perhaps with a port, and nothing behind"
    rules = _authority_rules(matches(f"https?://{validators.AUTHORITY.pattern}"), why)
    rules += [
        rule(
            "!self.matches(r'^https?://0[.]0[.]0[.]0(?::[0-9]+)?$') && "
            f"(!self.contains('[') || !isIP({_BRACKETS}) || !ip({_BRACKETS}).isUnspecified())",
            "can be listened on but not connected to; use it in bind",
        )
    ]
    return text(description, least=1, most=validators.MAX_HOST + 14, rules=rules)


def _authority_rules(syntax: str, why: str) -> list[Schema]:
    port = f"!self.matches(':[0-9]+$') || ({_AUTHORITY_PORT} >= 1 && {_AUTHORITY_PORT} <= 65535)"
    return [
        rule(syntax, why),
        rule(f"!{syntax} || {port}", "has a port that is not one from 1 to 65535"),
        rule(
            f"!{syntax} || !self.contains('[') || isIP({_BRACKETS})",
            "has no IPv6 address between its brackets",
        ),
    ]


def file(description: str) -> Schema:
    """Return the path of a file at a site."""
    return text(
        description,
        most=validators.MAX_PATH,
        rules=[
            rule("self.startsWith('/')", "is not the absolute path of a file"),
            rule(matches(f"{PRINTABLE}*"), "has a character that is not printable"),
        ],
    )


def path(description: str) -> Schema:
    """Return a prefix of paths."""
    plain = "self.lowerAscii().replace('%2e', '.').replace('%2f', '/')"
    return text(
        description,
        most=validators.MAX_PATH,
        rules=[
            rule("self.startsWith('/')", "does not begin with '/'"),
            rule(
                f"!self.startsWith('/') || {matches(validators.PATH)}",
                "is not a path: no query, no empty segments, other characters as %XX",
            ),
            rule(f"!{plain}.matches('/[.]{{1,2}}(/|$)')", "has a segment '.' or '..'"),
        ],
    )


def region(description: str) -> Schema:
    """Return the id of an OpenStack region."""
    why = f"is not a region: 1 to {validators.MAX_REGION} printable characters"
    return text(
        description, most=validators.MAX_REGION, rules=[rule(matches(f"{PRINTABLE}+"), why)]
    )


def line(description: str, most: int) -> Schema:
    """Return one line of text for people, which may be empty."""
    why = "is not one line of printable text"
    return text(description, most=most, rules=[rule(matches(f"{PRINTABLE}*"), why)])


def role(description: str) -> Schema:
    """Return the name of a role."""
    why = "is not a role of letters, digits and '_.:-', at most 64"
    return text(description, most=64, rules=[rule(matches(validators.ROLE), why)])


def service(description: str, *further: str) -> Schema:
    """Return a service type, or one of some further words."""
    others = f"self in {quoted(further)} || " if further else ""
    official = quoted_map(built_in().aliases)
    return text(
        description,
        most=MAX_SERVICE_TYPE,
        rules=[
            rule(f"{others}{matches(SERVICE_TYPE)}", validators.NO_SERVICE_WORD),
            rule(
                f"!(self in {official})",
                "is an alias of a service type",
                words=f"'is an alias; the service type is \\'' + {official}[self] + '\\''",
            ),
        ],
    )


def service_keys() -> list[Schema]:
    """Return the rules for a map whose keys are service types.

    Kubernetes shows neither the map nor its keys, so the words name the first key that is wrong.
    """
    known = matches(SERVICE_TYPE, "word")
    no_type = in_cel(validators.NO_SERVICE_WORD)
    official = quoted_map(built_in().aliases)
    alias = f"self.filter(word, word in {official})[0]"
    return [
        rule(
            f"self.all(word, {known})",
            f"has a key that {validators.NO_SERVICE_WORD}",
            words=f"'\"' + self.filter(word, !{known})[0] + '\" {no_type}'",
        ),
        rule(
            f"self.all(word, !(word in {official}))",
            "has a key that is an alias of a service type",
            words=(
                f"'\"' + {alias} + '\" is an alias; the service type is \\'' + {official}[{alias}]"
                " + '\\''"
            ),
        ),
    ]


def clouds(description: str, most: int) -> Schema:
    """Return a list of clouds: names, and labels in brackets."""
    entry = text(
        "A cloud's name, or `[label=value,...]` for all clouds with these labels.",
        most=limits.LABEL_TEXT,
        pattern=CLOUD_PATTERN,
        rules=[
            rule(
                f"self != '{validators.LOCAL}'",
                "means the origin in a scope, so no cloud can have this name",
            )
        ],
    )
    return list_of(description, entry, most=most)


def name_rules(rules: Sequence[tuple[str, str]]) -> list[Schema]:
    """Return rules for `metadata.name`, each an expression and what is wrong with the name.

    They stand at the root of a schema, where Kubernetes shows neither value nor place.
    """
    return [
        rule(
            expression,
            f"metadata.name {words}",
            words=f"'metadata.name: \"' + self.metadata.name + '\" {in_cel(words)}'",
        )
        for expression, words in rules
    ]


def cloud_name_rules() -> list[Schema]:
    """Return the rules for the name of a cloud."""
    return name_rules(
        [
            (
                matches(validators.NAME, "self.metadata.name"),
                "is not a name of lower case letters, digits and inner '-', at most 63 characters",
            ),
            (
                f"self.metadata.name != '{validators.LOCAL}'",
                "means the origin in a scope, so no cloud can have this name",
            ),
        ]
    )
