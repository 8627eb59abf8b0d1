"""Writes the manifest of a `Cloud`: the inverse of `manifest`.

Invariant: `parse_manifest(to_document(cloud), place) == cloud`. Fields with default values are left
out.
"""

from typing import Any

from scopeway.control_plane.clouds.caller_limits import AT_ONCE, PER_SECOND
from scopeway.control_plane.clouds.manifest import API_VERSION, DEFAULT_IDS, KIND
from scopeway.control_plane.clouds.model import (
    UNLIMITED,
    AcceptRule,
    CallerLimits,
    Cloud,
    CloudPattern,
    Front,
    IdentityRule,
    Peer,
    Service,
)
from scopeway.control_plane.clouds.policy import ENFORCE
from scopeway.control_plane.clouds.validators import UNLIMITED_WORD

Document = dict[str, Any]
"""Of plain types only, as JSON and YAML have them."""


def to_document(cloud: Cloud) -> Document:
    """Return the manifest of a cloud."""
    metadata: Document = {"name": cloud.name}
    if cloud.labels:
        metadata["labels"] = dict(cloud.labels)
    spec: Document = {}
    if cloud.front is not None:
        spec["front"] = _front(cloud.front)
    if cloud.peer is not None:
        spec["peer"] = {**_listener(cloud.peer), **_limits(cloud.peer.limits)}
    if cloud.services:
        spec["services"] = {word: _service(value) for word, value in cloud.services.items()}
    if cloud.accept:
        spec["accept"] = [_rule(rule) for rule in cloud.accept]
    if cloud.accept_mode != ENFORCE:
        spec["acceptMode"] = cloud.accept_mode
    document: Document = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata}
    return {**document, "spec": spec} if spec else document


def pattern_text(pattern: CloudPattern) -> str:
    """Return an entry of a list of clouds as in a manifest."""
    if pattern.name is not None:
        return pattern.name
    return f"[{','.join(f'{key}={value}' for key, value in pattern.labels.items())}]"


def _listener(value: Front | Peer) -> Document:
    document: Document = {"address": value.address, "port": value.port}
    return {**document, "bind": value.bind} if value.bind else document


def _front(front: Front) -> Document:
    document = _listener(front)
    if front.ports:
        document["ports"] = dict(front.ports)
    if front.region:
        document["region"] = front.region
    if front.url:
        document["url"] = front.url
    if front.tls is not None:
        document["tls"] = {"certificate": front.tls.certificate, "key": front.tls.key}
    return document


def _service(service: Service) -> Document:
    document: Document = {
        "endpoints": [
            {"address": endpoint.address, "port": endpoint.port} for endpoint in service.endpoints
        ]
    }
    if service.path:
        document["path"] = service.path
    if service.host:
        document["host"] = service.host
    return document


def _rule(rule: AcceptRule) -> Document:
    document: Document = {"clouds": [pattern_text(pattern) for pattern in rule.clouds]}
    if rule.services is not None:
        document["services"] = list(rule.services)
    if rule.methods is not None:
        document["methods"] = list(rule.methods)
    if rule.identity is not None:
        document["identity"] = _identity(rule.identity)
    if not rule.fanout:
        document["fanout"] = False
    return {**document, **_limits(rule.limits)}


def _limits(limits: CallerLimits) -> Document:
    figures = {PER_SECOND: limits.requests_per_second, AT_ONCE: limits.requests_at_once}
    stated = {
        field: UNLIMITED_WORD if value == UNLIMITED else value
        for field, value in figures.items()
        if value is not None
    }
    return {"limits": stated} if stated else {}


def _identity(rule: IdentityRule) -> Document:
    document: Document = {
        "clouds": [pattern_text(pattern) for pattern in rule.clouds],
        "roles": list(rule.roles),
    }
    return document if rule.ids == DEFAULT_IDS else {**document, "ids": rule.ids}
