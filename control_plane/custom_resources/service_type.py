"""The schema of ServiceType: the structure that `clouds.service_type` reads."""

from scopeway.control_plane.clouds import fields, limits, service_type, validators
from scopeway.control_plane.custom_resources import values
from scopeway.control_plane.custom_resources.schema import (
    Schema,
    choice,
    distinct,
    fields_of,
    list_of,
    rule,
    text,
)
from scopeway.control_plane.scope import MAX_SERVICE_TYPE, SERVICE_TYPE, SERVICE_TYPES, built_in

DESCRIPTION = (
    "ServiceType declares a kind of service besides those of OpenStack, which are built in. Its "
    "name is the word for it in scopes, paths and EdgeClouds: `{sensor: cloud-2}`. A change counts "
    "at once at all sites."
)
_LONGEST_NAME = 64


def spec() -> Schema:
    """Return the schema of `spec`."""
    aliases = values.quoted_map(built_in().aliases)
    word = text(
        "A word for the type.",
        most=MAX_SERVICE_TYPE,
        rules=[
            rule(values.matches(SERVICE_TYPE), validators.NO_SERVICE_WORD),
            rule(
                f"!(self in {values.quoted(sorted(SERVICE_TYPES))})", "is a built-in service type"
            ),
            rule(
                f"!(self in {aliases})",
                "is a built-in word",
                words=f"'is built in, for \\'' + {aliases}[self] + '\\''",
            ),
        ],
    )
    header = text(
        "The name of a header, in lower case.",
        most=_LONGEST_NAME,
        rules=[
            rule(
                values.matches(service_type.HEADER),
                "is not a header of lower case letters, digits and inner '-', at most "
                f"{_LONGEST_NAME} characters",
            ),
            rule(_may_be_forwarded(), "never goes to another cloud as the client wrote it"),
        ],
    )
    http, openstack = service_type.HTTP, service_type.OPENSTACK
    return fields_of(
        fields.SERVICE_TYPE_SPEC,
        "How requests to this type are treated. All fields are optional.",
        {
            "aliases": list_of(
                "Other words for the type, in scopes and at commands only. Default: none.",
                word,
                most=limits.ALIASES,
                least=0,
                rules=[distinct()],
            ),
            "protocol": choice(
                f"`{http}`: any HTTP service, without tokens and catalogs. `{openstack}`: tokens, "
                f"catalogs and ids are treated as those of a built-in type. Default: `{http}`.",
                service_type.PROTOCOLS,
                default=http,
            ),
            "forward": list_of(
                "Request headers that may go to other clouds, such as authorization. All others "
                f"stay at the site, except those that HTTP needs. Only for `{http}`. Default: "
                "none.",
                header,
                most=limits.FORWARDED_HEADERS,
                least=0,
                rules=[distinct()],
            ),
            "lists": list_of(
                "The paths that answer lists. A request to several clouds (with &) for such a "
                "path gets one list of all items. Default: none.",
                _list(),
                most=limits.LISTS,
                least=0,
            ),
        },
        rules=[
            rule(
                f"!has(self.forward) || size(self.forward) == 0 || self.protocol != '{openstack}'",
                f"is only for protocol {http}",
                at=".forward",
            )
        ],
    )


def rules() -> list[Schema]:
    """Return the rules for the whole object."""
    name = "self.metadata.name"
    aliases = values.quoted_map(built_in().aliases)
    return [
        *values.name_rules(
            [
                (values.matches(SERVICE_TYPE, name), validators.NO_SERVICE_WORD),
                (
                    f"!({name} in {values.quoted(sorted(SERVICE_TYPES))})",
                    "is a built-in service type",
                ),
            ]
        ),
        rule(
            f"!({name} in {aliases})",
            "metadata.name is a built-in word",
            words=(
                f"'metadata.name: \"' + {name} + '\" is built in, for \\'' + {aliases}[{name}] + "
                "'\\''"
            ),
        ),
        rule(
            "!has(self.spec) || !has(self.spec.aliases) || "
            "!(self.metadata.name in self.spec.aliases)",
            "has the name of the type itself",
            at=".spec.aliases",
            words="'\"' + self.metadata.name + '\" is the name of the type itself'",
        ),
    ]


def _list() -> Schema:
    return fields_of(
        fields.SERVICE_LIST,
        "The paths of one kind of list.",
        {
            "path": text(
                "How these paths end, in whole segments: /readings. `*` is any one segment: "
                "/rooms/*/readings.",
                most=limits.LIST_PATH,
                rules=[
                    rule(
                        values.matches(service_type.LIST_PATH),
                        "is not a path: '/' and letters, digits, '.', '_', '~', '-', or '*' for "
                        "any one segment",
                    ),
                    rule("!self.matches('/[.]{1,2}(/|$)')", "has a segment '.' or '..'"),
                ],
            ),
            "key": _field_of_an_answer(
                "The field of the answer that holds the list. Default: the answer is the list "
                "itself."
            ),
            "id": _field_of_an_answer(
                "The field that identifies an item: items of several clouds with equal values are "
                "one item. Default: all items differ."
            ),
        },
        required=("path",),
    )


def _may_be_forwarded() -> str:
    never = values.quoted(sorted(service_type.NEVER_FORWARDED))
    prefixes = " || ".join(f"self.startsWith('{each}')" for each in service_type.OWN_PREFIXES)
    return f"!(self in {never} || {prefixes})"


def _field_of_an_answer(description: str) -> Schema:
    why = f"is not a field of at most {_LONGEST_NAME} letters, digits and '_.:@$-'"
    syntax = values.matches(service_type.FIELD_NAME)
    return text(description, most=_LONGEST_NAME, rules=[rule(f"self == '' || {syntax}", why)])
