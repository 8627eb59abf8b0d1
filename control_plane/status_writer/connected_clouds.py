"""Which clouds have an Envoy at which replica: what a replica publishes, and what the leader reads.

Pure. A replica has a Lease that it renews, and a ConfigMap with its clouds. The Lease names the
digest of the ConfigMap, so the leader reads a ConfigMap only when it has changed. Clouds are
written as numbers of eight bytes, so the size does not depend on their names.

Whoever may write these objects can lie about EnvoyConnected. No decision of the control plane
depends on that condition.
"""

import base64
import binascii
import sys
from array import array
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

MAX_CLOUDS: Final = 65_536
"""Clouds that a replica publishes: 512 KiB, of the 1 MiB that a ConfigMap may have."""
MAX_REPLICAS: Final = 32
"""Replicas that the leader reads."""

DIGEST: Final = "scopeway.io/clouds"
"""The annotation of the Lease that has the digest of the ConfigMap."""
LABELS: Final[Mapping[str, str]] = {
    "app.kubernetes.io/managed-by": "scopeway",
    "app.kubernetes.io/component": "replica",
}
PREFIX: Final = "scopeway-replica-"
_KEY_BYTES: Final = 8
_CONNECTED, _TOO_LARGE = "connected", "policy-too-large"


@dataclass(frozen=True, slots=True)
class ReplicaClouds:
    """The clouds of one replica, by their keys."""

    connected: frozenset[int] = frozenset()
    """Those with an Envoy that has a stream here."""
    policy_too_large: frozenset[int] = frozenset()
    """Those of them whose policy is too large to be enforced."""


@lru_cache(maxsize=MAX_CLOUDS)
def cloud_key(name: str) -> int:
    """Return the key of a cloud. Two names have one key by chance once in 2^64 pairs."""
    digest = blake2b(name.encode(), digest_size=_KEY_BYTES, person=b"scopeway").digest()
    return int.from_bytes(digest, "little")


def clouds_of(connected: Iterable[str], policy_too_large: Iterable[str]) -> ReplicaClouds:
    """Return the clouds of a replica, by their names; of too many, the first by key."""
    keys = frozenset(map(cloud_key, connected))
    if len(keys) > MAX_CLOUDS:
        keys = frozenset(sorted(keys)[:MAX_CLOUDS])
    return ReplicaClouds(keys, keys & frozenset(map(cloud_key, policy_too_large)))


def encode(clouds: ReplicaClouds) -> dict[str, str]:
    """Return the `binaryData` of a replica's ConfigMap."""
    return {
        _CONNECTED: _packed(clouds.connected),
        _TOO_LARGE: _packed(clouds.policy_too_large),
    }


def decode(config_map: Mapping[str, Any]) -> ReplicaClouds | None:
    """Return the clouds that a ConfigMap has; None if it is not one of a replica."""
    data = config_map.get("binaryData")
    if not isinstance(data, Mapping):
        return None
    connected, too_large = _unpacked(data.get(_CONNECTED)), _unpacked(data.get(_TOO_LARGE))
    if connected is None or too_large is None:
        return None
    return ReplicaClouds(connected, too_large)


def digest(data: Mapping[str, str]) -> str:
    """Return the digest of a `binaryData`."""
    whole = blake2b(digest_size=16)
    for key in sorted(data):
        whole.update(f"{key}={data[key]}\n".encode())
    return whole.hexdigest()


class Replicas:
    """The replicas that live, as the leader sees them; its caller has the clock."""

    def __init__(self, dead_after: float) -> None:
        """Begin with none.

        Args:
            dead_after: Seconds without a renewal after which a replica counts as dead.
        """
        self._dead_after = dead_after
        self._seen: dict[str, tuple[str, float]] = {}
        """A Lease to its resource version, and when that was first seen."""
        self._told: dict[str, str] = {}
        """The Lease of each live replica to the digest that it tells."""
        self._clouds: dict[str, tuple[str, ReplicaClouds]] = {}
        """A Lease to the digest that it told when the clouds were read last, and these."""

    def observe(self, leases: Iterable[Mapping[str, Any]], now: float) -> list[str]:
        """Take the Leases that there are; return the names of those that are dead.

        A Lease is dead if nobody was seen to renew it for `dead_after`. The clocks of other
        machines don't matter.
        """
        told: dict[str, str] = {}
        seen: dict[str, tuple[str, float]] = {}
        for lease in leases:
            metadata = lease["metadata"]
            name, version = metadata["name"], metadata["resourceVersion"]
            if not name.startswith(PREFIX):
                continue
            before = self._seen.get(name)
            seen[name] = before if before and before[0] == version else (version, now)
            told[name] = (metadata.get("annotations") or {}).get(DIGEST, "")
        self._seen = seen
        dead = [name for name, (_, since) in seen.items() if now - since >= self._dead_after]
        alive = sorted(seen.keys() - set(dead), key=lambda name: (-seen[name][1], name))
        self._told = {name: told[name] for name in alive[:MAX_REPLICAS]}
        for name in self._clouds.keys() - self._told.keys():
            del self._clouds[name]
        return dead

    def to_read(self) -> dict[str, str]:
        """Return the live replicas whose clouds have to be read, to the digest that they tell."""
        return {
            name: told
            for name, told in self._told.items()
            if told and (name not in self._clouds or self._clouds[name][0] != told)
        }

    def read(self, name: str, told: str, clouds: ReplicaClouds) -> None:
        """Take what was read of a replica, which had told that digest before."""
        self._clouds[name] = (told, clouds)

    def clouds(self) -> ReplicaClouds:
        """Return the clouds of all live replicas together."""
        all_of = [clouds for _, clouds in self._clouds.values()]
        return ReplicaClouds(
            frozenset().union(*(each.connected for each in all_of)),
            frozenset().union(*(each.policy_too_large for each in all_of)),
        )


def _packed(keys: Collection[int]) -> str:
    values = array("Q", sorted(keys))
    if sys.byteorder == "big":
        values.byteswap()
    return base64.b64encode(values.tobytes()).decode()


def _unpacked(text: object) -> frozenset[int] | None:
    if not isinstance(text, str) or len(text) > MAX_CLOUDS * _KEY_BYTES * 4 // 3 + 4:
        return None
    try:
        values = array("Q", base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return None
    if sys.byteorder == "big":
        values.byteswap()
    return frozenset(values)
