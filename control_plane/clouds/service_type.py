"""The declaration of a service type: what OpenStack's built-in types do not cover.

Parses and writes its document (docs/service-types.md). Knows one document only: `declared_types`
combines those of a registry.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from scopeway.control_plane.clouds import fields, limits, validators
from scopeway.control_plane.clouds.invalid import InvalidCloud, Problem
from scopeway.control_plane.clouds.manifest import API_VERSION, MAX_PROBLEMS, unknown_field
from scopeway.control_plane.scope import built_in, is_service_type

KIND = "ServiceType"
HTTP = "http"
OPENSTACK = "openstack"
PROTOCOLS = (HTTP, OPENSTACK)

HEADER = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?")
"""Without "_", because a front removes such names: WSGI confuses them with those that have "-"."""
NEVER_FORWARDED = frozenset(
    {
        *("connection", "content-length", "host", "keep-alive", "proxy-authenticate"),
        *("proxy-authorization", "proxy-connection", "te", "trailer", "transfer-encoding"),
        *("upgrade", "x-scope", "x-service-token", "x-storage-token"),
    }
)
"""The headers of one connection (RFC 9110, 7.6.1), the scope, and what fronts and peers remove of
every request (docs/envoy.md)."""
OWN_PREFIXES = ("x-scopeway-", "x-envoy-", "x-forwarded-")
LIST_PATH = re.compile(r"(?:/(?:[A-Za-z0-9._~-]+|\*))+")
FIELD_NAME = re.compile(r"[A-Za-z0-9_.:@$-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceList:
    """A kind of paths whose GET answers a list."""

    path: str
    """How these paths end: "/readings", "/rooms/*/readings"; "*" is any one segment."""
    key: str = ""
    """The field of the answer that holds the list; "" if the answer is the list itself."""
    id: str = ""
    """The field that identifies an item; "" if items have no identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceType:
    """A service type, as its document declares it."""

    name: str
    """The official type: a label of at most 40 characters that no built-in word equals."""
    aliases: tuple[str, ...] = ()
    """Other words for it, like `name`."""
    protocol: str = HTTP
    """HTTP or OPENSTACK: whether tokens, catalogs and ids are treated as OpenStack's."""
    forward: tuple[str, ...] = ()
    """Request headers in lower case that may go to other clouds; only of protocol HTTP."""
    lists: tuple[ServiceList, ...] = ()


def parse_service_type(document: Mapping[Any, Any], place: str) -> ServiceType:
    """Return the service type that a document declares.

    Raises:
        InvalidCloud: the document is not valid; its `service_type` is the name, if that is valid.
    """
    reader = _Reader()
    found = reader.service_type(document)
    if reader.problems:
        error = InvalidCloud(place, *reader.problems, more=reader.more)
        error.service_type = found.name if name_problem(found.name) is None else None
        raise error
    return found


def service_type_document(service_type: ServiceType) -> dict[str, Any]:
    """Return the document of a service type: the inverse of `parse_service_type`."""
    spec: dict[str, Any] = {}
    if service_type.aliases:
        spec["aliases"] = list(service_type.aliases)
    spec["protocol"] = service_type.protocol
    if service_type.forward:
        spec["forward"] = list(service_type.forward)
    if service_type.lists:
        spec["lists"] = _lists(service_type)
    metadata = {"name": service_type.name}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec}


def lists_json(service_type: ServiceType) -> str:
    """Return the lists of a service type as one line of JSON; "" if it has none.

    The collector reads it (header `x-scopeway-lists`).
    """
    found = _lists(service_type)
    return json.dumps(found, separators=(",", ":")) if found else ""


def name_problem(value: object) -> str | None:
    """Check a word for a service type: its name or an alias."""
    if not isinstance(value, str):
        return validators.not_text_problem(value)
    if not is_service_type(value):
        return validators.NO_SERVICE_WORD
    official = built_in().official(value)
    if official is None:
        return None
    return "is a built-in service type" if official == value else f"is built in, for {official!r}"


def _lists(service_type: ServiceType) -> list[dict[str, str]]:
    return [
        {key: text for key in ("path", "key", "id") if (text := getattr(each, key))}
        for each in service_type.lists
    ]


class _Reader:
    """Reads one document and collects its problems, as `manifest` does."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.more = 0

    def service_type(self, document: Mapping[Any, Any]) -> ServiceType:
        top = self.fields_of(document, "", fields.DOCUMENT)
        for at, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
            if top.get(at) != wanted:
                self.refuse(at, top.get(at), f"is not {wanted!r}")
        metadata = self.fields_of(top.get("metadata", {}), "metadata", fields.NAME_ONLY)
        spec = self.fields_of(top.get("spec", {}), "spec", fields.SERVICE_TYPE_SPEC)
        name = self.text(metadata.get("name"), "metadata.name", name_problem)
        aliases = self.words(spec, "aliases", name_problem, limits.ALIASES)
        if name in aliases:
            self.refuse("spec.aliases", name, "is the name of the type itself")
        protocol = spec.get("protocol", HTTP)
        if protocol not in PROTOCOLS:
            self.refuse("spec.protocol", protocol, f"is not one of {', '.join(PROTOCOLS)}")
        forward = self.words(spec, "forward", _header_problem, limits.FORWARDED_HEADERS)
        if forward and protocol == OPENSTACK:
            self.problem("spec.forward", "is only for protocol http")
        return ServiceType(
            name=name,
            aliases=aliases,
            protocol=str(protocol),
            forward=forward,
            lists=tuple(
                self.list_of(each, f"spec.lists[{index}]")
                for index, each in enumerate(self.several(spec, "lists", limits.LISTS))
            ),
        )

    def list_of(self, value: object, at: str) -> ServiceList:
        found = self.fields_of(value, at, fields.SERVICE_LIST)
        return ServiceList(
            path=self.text(found.get("path"), f"{at}.path", _path_problem),
            key=self.text(found.get("key", ""), f"{at}.key", _key_problem),
            id=self.text(found.get("id", ""), f"{at}.id", _key_problem),
        )

    def words(
        self, spec: Mapping[Any, Any], key: str, check: Callable[[object], str | None], most: int
    ) -> tuple[str, ...]:
        """Read a list of distinct words."""
        at = f"spec.{key}"
        found = tuple(
            self.text(word, f"{at}[{index}]", check)
            for index, word in enumerate(self.several(spec, key, most))
        )
        if not self.problems and len(set(found)) < len(found):
            self.refuse(at, spec[key], "contains duplicates")
        return found

    def several(self, spec: Mapping[Any, Any], key: str, most: int) -> list[Any]:
        """Read a list; a longer one than `most` is rejected without reading its entries."""
        value = spec.get(key, [])
        if not isinstance(value, list):
            self.refuse(f"spec.{key}", value, "is not a list")
            return []
        if len(value) > most:
            self.problem(f"spec.{key}", f"has {len(value)} entries, more than {most}")
            return []
        return value

    def fields_of(self, value: object, at: str, known: frozenset[str]) -> Mapping[Any, Any]:
        if not isinstance(value, Mapping):
            self.refuse(at, value, "is not an object")
            return {}
        for key in sorted(value.keys() - known, key=str):
            # a suggestion takes long, so none is made for problems that are only counted
            self.problem(at, "" if self.is_full else unknown_field(key, known))
        return value

    def text(self, value: Any, at: str, check: Callable[[object], str | None]) -> str:
        reason = check(value)
        if reason is not None:
            self.refuse(at, value, reason)
        return value if isinstance(value, str) else ""

    def refuse(self, at: str, value: object, reason: str) -> None:
        found = "is missing" if value is None else f"{validators.show(value)} {reason}"
        self.problem(at, found)

    def problem(self, at: str, reason: str) -> None:
        if self.is_full:
            self.more += 1
        else:
            self.problems.append(Problem(at, reason))

    @property
    def is_full(self) -> bool:
        return len(self.problems) >= MAX_PROBLEMS


def _header_problem(value: object) -> str | None:
    if not isinstance(value, str):
        return validators.not_text_problem(value)
    if not HEADER.fullmatch(value):
        return "is not a header of lower case letters, digits and inner '-', at most 64 characters"
    if value in NEVER_FORWARDED or value.startswith(OWN_PREFIXES):
        return "never goes to another cloud as the client wrote it"
    return None


def _path_problem(value: object) -> str | None:
    if not isinstance(value, str):
        return validators.not_text_problem(value)
    if len(value) > limits.LIST_PATH or not LIST_PATH.fullmatch(value):
        return (
            f"is not a path of at most {limits.LIST_PATH} characters: "
            "'/' and letters, digits, '.', '_', '~', '-', or '*' for any one segment"
        )
    if any(segment in (".", "..") for segment in value.split("/")):
        return "has a segment '.' or '..'"
    return None


def _key_problem(value: object) -> str | None:
    if not isinstance(value, str):
        return validators.not_text_problem(value)
    if value and not FIELD_NAME.fullmatch(value):
        return "is not a field of at most 64 letters, digits and '_.:@$-'"
    return None
