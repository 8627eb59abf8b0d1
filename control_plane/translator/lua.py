"""Translates a cloud into the encoded Lua filters of its site's listeners (ECDS).

The numbers below are the field numbers of Envoy's API.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final

from scopeway.control_plane.clouds.declared_types import NO_TYPES, DeclaredTypes
from scopeway.control_plane.clouds.model import Cloud, Front
from scopeway.control_plane.clouds.urls import front_url, service_urls
from scopeway.control_plane.identity import spiffe_id
from scopeway.control_plane.translator import link_filter, names
from scopeway.control_plane.translator.caller_limits import lua_constants
from scopeway.control_plane.translator.foreign_ids import id_constants
from scopeway.control_plane.translator.listener_addresses import Entry, PeerTransport, entries
from scopeway.control_plane.translator.node_setup import DEFAULT_SETUP, Setup
from scopeway.lua_filters import bundle, http_literal, literal
from scopeway.xds.encoding.protobuf import field_string, nested

MAX_TARGETS: Final = 2000
"""Distinct new targets that one Lua state names before it answers 429; each costs Envoy 1 kB for
ever."""

NEW_TARGETS_PER_SECOND: Final = 100
NEW_TARGETS_BURST: Final = 1000
"""How fast one Lua state may name new targets, and how many at once after a rest; beyond it
answers 429. Each is a question to the control plane, which answers all Envoys one by one."""

# TypedExtensionConfig, google.protobuf.Any
_NAME, _EXTENSION_CONFIG, _TYPE_URL, _ANY_VALUE = 1, 2, 1, 2
# Lua, an entry of its map, DataSource
_DEFAULT_SOURCE_CODE, _SOURCE_CODES, _KEY, _VALUE, _INLINE_STRING = 3, 2, 1, 2, 3


MAX_MEMBERS: Final = 10_000
"""The same where the collector asks for the clouds of fan-outs: as many as a control plane serves
to one stream, and at once, since a fan-out may have thousands."""


def lua_filters(
    cloud: Cloud,
    peers: PeerTransport,
    setup: Setup = DEFAULT_SETUP,
    types: DeclaredTypes = NO_TYPES,
) -> Iterator[tuple[str, bytes]]:
    """Yield name and encoded `TypedExtensionConfig`: the Lua of listeners, and that of links."""
    beside = False
    common = _constants(cloud, types)
    if setup.caches_validations:
        common["caches_validations"] = True
    for entry in entries(cloud, peers):
        script = _script(cloud, entry, entry.kind, peers, common, types)
        lua = nested(_DEFAULT_SOURCE_CODE, _inline(script))
        if entry.kind == names.FRONT:
            # in one resource with that: no Envoy has a front's Lua without the one for its answers
            answers = nested(
                _VALUE, _inline(_script(cloud, entry, names.ANSWERS, peers, common, types))
            )
            lua += nested(_SOURCE_CODES, (field_string(_KEY, names.ANSWERS), *answers))
        else:
            upgrades = nested(
                _VALUE, _inline(_script(cloud, entry, names.UPGRADES, peers, common, types))
            )
            lua += nested(_SOURCE_CODES, (field_string(_KEY, names.UPGRADES), *upgrades))
        beside = True
        yield names.lua(entry.name), _filter(names.lua(entry.name), lua)
    if beside:
        yield names.LINKS, _links(types)
        dispatch = _inline(bundle(names.DISPATCH, common))
        name = names.lua(names.DISPATCH)
        yield name, _filter(name, nested(_DEFAULT_SOURCE_CODE, dispatch))
        if setup.collector:
            bounds = {"max_targets": MAX_MEMBERS, "new_targets_burst": MAX_MEMBERS}
            asked = _inline(bundle(names.COLLECT, {**common, **bounds}))
            name = names.lua(names.COLLECT)
            yield name, _filter(name, nested(_DEFAULT_SOURCE_CODE, asked))


def _inline(script: str) -> list[bytes]:
    return nested(_INLINE_STRING, (script.encode(),))


def _filter(name: str, lua: Iterable[bytes]) -> bytes:
    config = (field_string(_TYPE_URL, names.LUA_TYPE), *nested(_ANY_VALUE, lua))
    return b"".join((field_string(_NAME, name), *nested(_EXTENSION_CONFIG, config)))


def _script(
    cloud: Cloud,
    entry: Entry,
    which: str,
    peers: PeerTransport,
    common: Mapping[str, object],
    types: DeclaredTypes,
) -> str:
    constants = dict(common)
    constants["max_targets"] = MAX_TARGETS
    constants["new_targets_per_second"] = NEW_TARGETS_PER_SECOND
    constants["new_targets_burst"] = NEW_TARGETS_BURST
    if entry.service is not None:
        constants["service"] = entry.service
        if entry.service not in types.words.types:
            # its port stays open, and the control plane rejects its targets until it is declared.
            # This script may be the older one for a moment then: no header leaves the site by it
            constants["services"] = {**types.official_types, entry.service: entry.service}
            constants["http"] = {entry.service: {}}
    if entry.kind == names.PEER:
        constants["limits"] = lua_constants(cloud)
        if peers.trust_domain is not None:
            constants["callers"] = spiffe_id(peers.trust_domain, "")
    if entry.kind == names.FRONT and cloud.front is not None:
        constants["front"] = _urls(cloud.front)
    return bundle(which, constants)


def _constants(cloud: Cloud, types: DeclaredTypes) -> dict[str, object]:
    # thousands of names perhaps, in each of a hundred scripts
    ids = {name: literal(value) for name, value in id_constants(cloud).items()}
    constants: dict[str, object] = {"site": cloud.name, "services": types.official_types, **ids}
    if types.http:
        constants["http"] = _http(types)
    return constants


@lru_cache(maxsize=4)
def _http(types: DeclaredTypes) -> str:
    return http_literal(types.http)


@lru_cache(maxsize=4)
def _links(types: DeclaredTypes) -> bytes:
    return link_filter.configuration(bundle(names.LINKS, {"services": types.official_types}))


def _urls(front: Front) -> Mapping[str, object]:
    """Where a front is reached, and what its clients call the place."""
    urls: dict[str, object] = {"url": front_url(front), "ports": service_urls(front)}
    return {**urls, "region": front.region} if front.region else urls
