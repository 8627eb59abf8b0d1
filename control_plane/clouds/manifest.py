"""Parses and validates the manifest of a cloud: a document becomes a `Cloud` (docs/clouds.md).

Defines the structure of the document. `validators` checks single values; `document` is the inverse.
Knows no YAML, no JSON and no registry. Invariant: the result is a valid `Cloud`, or an
`InvalidCloud` with the first MAX_PROBLEMS problems of the document.
"""

import sys
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeVar

from scopeway.control_plane.clouds import fields, limits, validators
from scopeway.control_plane.clouds.caller_limits import AT_ONCE, PER_SECOND
from scopeway.control_plane.clouds.invalid import InvalidCloud, Problem
from scopeway.control_plane.clouds.model import (
    NO_LABELS,
    NO_LIMITS,
    UNLIMITED,
    AcceptRule,
    CallerLimits,
    Certificate,
    Cloud,
    CloudPattern,
    Endpoint,
    Front,
    IdentityRule,
    Labels,
    Peer,
    Service,
)
from scopeway.control_plane.clouds.policy import ENFORCE, MODES

API_VERSION = "scopeway.io/v1alpha1"
KIND = "EdgeCloud"

DEFAULT_ROLES = ("member", "reader")
DEFAULT_IDS = "mapped"
IDS = (DEFAULT_IDS, "kept")

_T = TypeVar("_T")
_Object = Mapping[str, Any]
_EMPTY: _Object = MappingProxyType({})
MAX_PROBLEMS = 100
"""The most problems that are kept of one document; further ones are counted."""
_LONGEST_WAY = 300
_LONGEST_REMEMBERED = 128
"""Characters of a list entry, or of a label set, that is cached. With 4096 entries, each cache
stays below 16 MiB whatever is registered."""

_NO_PATTERN = CloudPattern(name="")


def parse_manifest(document: object, place: str) -> Cloud:
    """Return the cloud that a document (of the plain types of YAML or JSON) declares.

    Clouds with equal labels share one value.

    Raises:
        InvalidCloud: the document is not valid.
    """
    if not isinstance(document, dict):
        raise InvalidCloud(place, Problem("", f"{validators.show(document)} is not an object"))
    reader = _Reader()
    cloud = reader.cloud(document)
    if reader.problems:
        name = cloud.name if validators.name_problem(cloud.name) is None else None
        raise InvalidCloud(place, *reader.problems, more=reader.more, name=name)
    return cloud


class _Reader:
    """Reads one document and collects its problems.

    Every method takes a value and its path. After a problem it returns a value of the right type,
    which `parse_manifest` discards.
    """

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.more = 0
        self.clouds = self.selectors = self.identity_clouds = 0
        """The entries of lists of clouds so far."""
        self.rule_services: set[str] = set()

    def cloud(self, document: _Object) -> Cloud:
        top = self.fields_of(document, "", fields.DOCUMENT)
        if "apiVersion" not in top or top["apiVersion"] != API_VERSION:
            self.refuse("apiVersion", top.get("apiVersion"), f"is not {API_VERSION!r}")
        if "kind" not in top or top["kind"] != KIND:
            self.refuse("kind", top.get("kind"), f"is not {KIND!r}, 'Cordon' or 'ServiceType'")
        metadata = self.fields_of(top.get("metadata", {}), "metadata", fields.METADATA)
        spec = self.fields_of(top["spec"], "spec", fields.SPEC) if "spec" in top else _EMPTY
        front = self.front(spec["front"], "spec.front") if "front" in spec else None
        peer = self.peer(spec["peer"], "spec.peer") if "peer" in spec else None
        if front is not None and peer is not None:
            self.not_both_on_one_port(front, peer)
        return Cloud(
            name=self.leaf(metadata.get("name"), "metadata.name", validators.name_problem),
            labels=self.labels(metadata["labels"]) if "labels" in metadata else NO_LABELS,
            front=front,
            peer=peer,
            services=self.services(spec["services"]) if "services" in spec else {},
            accept=self.rules(spec["accept"]) if "accept" in spec else (),
            accept_mode=self.mode(spec.get("acceptMode", ENFORCE)),
        )

    def labels(self, value: object) -> Labels:
        labels = self.any_fields_of(value, "metadata.labels", limits.LABELS)
        for key, text in labels.items():
            self.leaf(key, "metadata.labels", validators.label_problem)
            self.leaf(text, f"metadata.labels.{key}", validators.label_problem)
        return NO_LABELS if self.problems else _labels(tuple(labels.items()))

    def front(self, value: object, at: str) -> Front:
        front = self.fields_of(value, at, fields.FRONT)
        address, port, bind = self.listener(front, at)
        ports = _EMPTY
        if "ports" in front:
            ports = self.any_fields_of(front["ports"], f"{at}.ports", limits.SERVICES)
        taken = {port} if validators.port_problem(port) is None else set()
        for service, own in ports.items():
            where = f"{at}.ports.{service}"
            self.leaf(service, f"{at}.ports", validators.service_problem)
            if validators.port_problem(self.leaf(own, where, validators.port_problem)) is not None:
                continue
            if own in taken:
                self.refuse(where, own, "is used twice by this front")
            taken.add(own)
        region = ""
        if "region" in front:
            region = self.leaf(front["region"], f"{at}.region", validators.region_problem)
        url = self.leaf(front["url"], f"{at}.url", validators.url_problem) if "url" in front else ""
        tls = self.tls(front["tls"], f"{at}.tls") if "tls" in front else None
        if tls is not None and isinstance(url, str) and url.startswith("http:"):
            self.refuse(f"{at}.url", url, "is not https, though the front has a certificate")
        return Front(
            address=address,
            port=port,
            ports=dict(ports),
            bind=bind,
            region=region,
            url=url,
            tls=tls,
        )

    def tls(self, value: object, at: str) -> Certificate:
        tls = self.fields_of(value, at, fields.TLS)
        return Certificate(
            certificate=self.leaf(
                tls.get("certificate"), f"{at}.certificate", validators.file_problem
            ),
            key=self.leaf(tls.get("key"), f"{at}.key", validators.file_problem),
        )

    def peer(self, value: object, at: str) -> Peer:
        peer = self.fields_of(value, at, fields.PEER)
        address, port, bind = self.listener(peer, at)
        return Peer(address=address, port=port, bind=bind, limits=self.limits(peer, at))

    def limits(self, value: _Object, at: str) -> CallerLimits:
        """Read the limits of a peer or a rule."""
        if "limits" not in value:
            return NO_LIMITS
        at = f"{at}.limits"
        stated = self.fields_of(value["limits"], at, fields.LIMITS)
        if not stated:
            self.refuse(at, value["limits"], f"states neither {PER_SECOND} nor {AT_ONCE}")
        return CallerLimits(
            requests_per_second=self.limit(
                stated, PER_SECOND, at, validators.requests_per_second_problem
            ),
            requests_at_once=self.limit(stated, AT_ONCE, at, validators.requests_at_once_problem),
        )

    def limit(
        self, value: _Object, key: str, at: str, check: Callable[[object], str | None]
    ) -> int | None:
        if key not in value:
            return None
        figure = self.leaf(value[key], f"{at}.{key}", check)
        return figure if type(figure) is int else UNLIMITED

    def listener(self, value: _Object, at: str) -> tuple[str, int, str]:
        """Read the fields that fronts and peers share."""
        address = self.address(value.get("address"), f"{at}.address", validators.address_problem)
        port = self.leaf(value.get("port"), f"{at}.port", validators.port_problem)
        if "bind" in value:
            return address, port, self.address(value["bind"], f"{at}.bind", validators.bind_problem)
        if isinstance(address, str) and not validators.is_ip(address):
            needed = (
                f"is required, because {validators.show(address)} is not an IP address to listen on"
            )
            self.problem(f"{at}.bind", needed)
        return address, port, ""

    def not_both_on_one_port(self, front: Front, peer: Peer) -> None:
        if not self.problems and peer.port in (front.port, *front.ports.values()):
            ours, theirs = front.bind or front.address, peer.bind or peer.address
            if ours == theirs or {ours, theirs} & {"0.0.0.0", "::"}:
                self.refuse("spec.peer.port", peer.port, "is used by the front, too")

    def services(self, value: object) -> Mapping[str, Service]:
        services = self.any_fields_of(value, "spec.services", limits.SERVICES)
        for word in services:
            self.leaf(word, "spec.services", validators.service_problem)
        return {
            sys.intern(word): self.service(service, f"spec.services.{word}")
            for word, service in services.items()
        }

    def service(self, value: object, at: str) -> Service:
        service = self.fields_of(value, at, fields.SERVICE)
        path = (
            self.leaf(service["path"], f"{at}.path", validators.path_problem)
            if "path" in service
            else ""
        )
        return Service(
            endpoints=self.several(
                service.get("endpoints"), f"{at}.endpoints", self.endpoint, limits.ENDPOINTS
            ),
            path=path.rstrip("/") if isinstance(path, str) else "",
            host=self.leaf(service["host"], f"{at}.host", validators.host_problem)
            if "host" in service
            else "",
        )

    def endpoint(self, value: object, at: str) -> Endpoint:
        endpoint = self.fields_of(value, at, fields.ENDPOINT)
        return Endpoint(
            address=self.address(
                endpoint.get("address"), f"{at}.address", validators.address_problem
            ),
            port=self.leaf(endpoint.get("port"), f"{at}.port", validators.port_problem),
        )

    def rules(self, value: object) -> tuple[AcceptRule, ...]:
        if value == []:
            return ()
        return self.several(value, "spec.accept", self.rule, limits.RULES)

    def mode(self, value: object) -> str:
        if value not in MODES:
            self.refuse("spec.acceptMode", value, f"is not one of {', '.join(MODES)}")
        return sys.intern(str(value))

    def rule(self, value: object, at: str) -> AcceptRule:
        rule = self.fields_of(value, at, fields.RULE)
        return AcceptRule(
            clouds=self.patterns(rule, at),
            services=self.services_of_rule(rule, at),
            methods=self.words(rule, "methods", at, validators.method_problem, limits.METHODS),
            identity=self.identity(rule["identity"], f"{at}.identity")
            if "identity" in rule
            else None,
            limits=self.limits(rule, at),
            fanout=self.boolean(rule.get("fanout", True), f"{at}.fanout"),
        )

    def services_of_rule(self, rule: _Object, at: str) -> tuple[str, ...] | None:
        services = self.words(rule, "services", at, validators.accepted_problem, limits.SERVICES)
        before = len(self.rule_services)
        self.rule_services.update(services or ())
        more = len(self.rule_services) - before
        what = "different services in all rules"
        self.counted(f"{at}.services", before, more, limits.RULE_SERVICES, what)
        return services

    def boolean(self, value: object, at: str) -> bool:
        if not isinstance(value, bool):
            self.refuse(at, value, "is neither true nor false")
        return value is True

    def identity(self, value: object, at: str) -> IdentityRule:
        rule = self.fields_of(value, at, fields.IDENTITY)
        ids = rule.get("ids", DEFAULT_IDS)
        if ids not in IDS:
            self.refuse(f"{at}.ids", ids, f"is not one of {', '.join(IDS)}")
        roles = self.words(rule, "roles", at, validators.role_problem, limits.ROLES)
        before = self.clouds
        clouds = self.patterns(rule, at)
        self.identity_clouds = self.counted(
            f"{at}.clouds",
            self.identity_clouds,
            self.clouds - before,
            limits.IDENTITY_CLOUDS,
            "entries in all identity lists",
        )
        return IdentityRule(
            clouds=clouds,
            roles=DEFAULT_ROLES if roles in (None, DEFAULT_ROLES) else roles,
            ids=ids,
        )

    def patterns(self, value: _Object, at: str) -> tuple[CloudPattern, ...]:
        at, found = f"{at}.clouds", value.get("clouds")
        if isinstance(found, list):
            what = "entries in all lists of clouds"
            self.clouds = self.counted(at, self.clouds, len(found), limits.CLOUDS, what)
            if self.clouds > limits.CLOUDS:
                return ()
        return self.several(found, at, self.pattern, limits.CLOUDS)

    def pattern(self, value: object, at: str) -> CloudPattern:
        if isinstance(value, str) and value.count(",") >= limits.LABELS:
            self.too_many(at, value.count(",") + 1, limits.LABELS, "labels")
            return _NO_PATTERN
        pattern = _pattern(value) if isinstance(value, str) else None
        if pattern is not None and pattern.name is None:
            what = "entries with labels in all lists of clouds"
            self.selectors = self.counted(at, self.selectors, 1, limits.SELECTORS, what)
        if pattern is None:
            quoted = "; put it into quotes" if isinstance(value, list) else ""
            self.refuse(at, value, f"is not a cloud's name or '[label=value,...]'{quoted}")
            return _NO_PATTERN
        return pattern

    def words(
        self,
        value: _Object,
        key: str,
        at: str,
        check: Callable[[object], str | None],
        most: int,
    ) -> tuple[str, ...] | None:
        """Read an optional list of distinct words."""
        if key not in value:
            return None
        at = f"{at}.{key}"
        words = self.several(
            value[key], at, lambda word, where: self.leaf(word, where, check), most
        )
        if self.problems:
            return ()
        if len(set(words)) < len(words):
            self.refuse(at, value[key], "contains duplicates")
        return tuple(map(sys.intern, words))

    def several(
        self, value: object, at: str, read: Callable[[object, str], _T], most: int
    ) -> tuple[_T, ...]:
        """Read a list of one to `most` entries; a longer list is rejected without reading it."""
        if not isinstance(value, list) or not value:
            self.refuse(at, value, "is not a list with at least one entry")
            return ()
        if len(value) > most:
            self.too_many(at, len(value), most, "entries")
            return ()
        return tuple([read(item, f"{at}[{index}]") for index, item in enumerate(value)])

    def fields_of(self, value: object, at: str, known: frozenset[str]) -> _Object:
        """Read an object whose fields must be in `known`."""
        if not isinstance(value, dict):
            self.refuse(at, value, "is not an object")
            return _EMPTY
        if not value.keys() <= known:
            for key in value.keys() - known:
                self.unknown(key, at, known)
        return value

    def any_fields_of(self, value: object, at: str, most: int) -> _Object:
        """Read an object with arbitrary field names; one with more than `most` counts as empty."""
        if not isinstance(value, dict):
            self.refuse(at, value, "is not an object")
            return _EMPTY
        if len(value) > most:
            self.too_many(at, len(value), most, "entries")
            return _EMPTY
        return value

    def counted(self, at: str, before: int, more: int, most: int, what: str) -> int:
        """Return `before + more`; report a problem the first time that this exceeds `most`."""
        total = before + more
        if before <= most < total:
            self.too_many(at, total, most, what)
        return total

    def too_many(self, at: str, count: int, most: int, what: str) -> None:
        self.problem(at, f"has {count} {what}, more than {most}")

    def unknown(self, key: object, at: str, known: frozenset[str]) -> None:
        if not self.is_full():
            self.problem(at, unknown_field(key, known))

    def leaf(self, value: Any, at: str, check: Callable[[object], str | None]) -> Any:
        """Return the value, checked."""
        reason = check(value)
        if reason is not None:
            self.refuse(at, value, reason)
        return value

    def address(self, value: Any, at: str, check: Callable[[object], str | None]) -> Any:
        """Return an address, checked, in its canonical spelling."""
        reason = check(value)
        if reason is not None:
            self.refuse(at, value, reason)
            return value
        return validators.canonical_address(value)

    def refuse(self, at: str, value: object, reason: str) -> None:
        if not self.is_full():
            found = "is missing" if value is None else f"{validators.show(value)} {reason}"
            self.problem(at, found)

    def problem(self, at: str, reason: str) -> None:
        if not self.is_full():
            self.problems.append(Problem(_printable(at), reason))

    def is_full(self) -> bool:
        """Return whether the list of problems is full; then the new problem is only counted."""
        if len(self.problems) < MAX_PROBLEMS:
            return False
        self.more += 1
        return True


def unknown_field(key: object, known: frozenset[str]) -> str:
    """Return the problem of an unknown field, with a suggestion."""
    word = str(key)
    like = get_close_matches(word, known, n=1) if len(word) <= _LONGEST_REMEMBERED else []
    hint = f"did you mean {like[0]!r}?" if like else f"there are {', '.join(sorted(known))}"
    return f"{validators.show(key)} is not a field here; {hint}"


def _printable(at: str) -> str:
    # a path may contain any text: the names of labels and services
    return at if at.isprintable() and len(at) <= _LONGEST_WAY else validators.show(at)


def _pattern(text: str) -> CloudPattern | None:
    # long texts are not cached, because anybody may register them
    return _known_pattern(text) if len(text) <= _LONGEST_REMEMBERED else _new_pattern(text)


def _new_pattern(text: str) -> CloudPattern | None:
    """Parse an entry of a list of clouds: `cloud-1`, or `[region=eu,tier=edge]`."""
    if not (text.startswith("[") and text.endswith("]")):
        return CloudPattern(name=text) if validators.name_problem(text) is None else None
    if len(text) > limits.LABEL_TEXT:
        return None
    labels: dict[str, str] = {}
    for pair in text[1:-1].split(",", limits.LABELS):
        key, _, value = (part.strip(validators.BLANKS) for part in pair.partition("="))
        if (
            key in labels
            or validators.label_problem(key) is not None
            or validators.label_problem(value) is not None
        ):
            return None
        labels[key] = value
    return CloudPattern(labels=_labels(tuple(labels.items())))


_known_pattern = lru_cache(maxsize=4096)(_new_pattern)


def _labels(items: tuple[tuple[str, str], ...]) -> Labels:
    """Return one value for equal labels: thousands of clouds share a few label sets."""
    short = sum(len(key) + len(value) for key, value in items) <= _LONGEST_REMEMBERED
    return _known_labels(items) if short else _new_labels(items)


def _new_labels(items: tuple[tuple[str, str], ...]) -> Labels:
    return MappingProxyType({sys.intern(key): sys.intern(value) for key, value in items})


_known_labels = lru_cache(maxsize=4096)(_new_labels)
