"""The clouds and the targets of the bench: always the same for the same numbers."""

import random
from collections.abc import Iterator, Sequence
from functools import cached_property

import grpc
from aetcd import rpc

from harness.fleet import manifest
from harness.stack import KEYS
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.registry.documents import to_json

SERVICES = ("identity", "image", "compute", "network", "block-storage")
SHARED, FEW = "shared", "few"
"""Clouds that all streams use, and that FEW_USERS of them do."""
FEW_USERS = 10
EVERYWHERE = "tier=edge"
"""A label that all clouds bear."""
PAIRS = 5
"""Targets of two clouds among those of a stream."""
SEED = 1


class World:
    """So many clouds, of which some have an Envoy that is connected, and uses some others."""

    def __init__(self, *, clouds: int, streams: int, targets: int) -> None:
        self.names = [f"edge-{number:05}" for number in range(clouds)]
        self.sites = self.names[:streams]
        self._targets = targets

    @cached_property
    def targets(self) -> list[list[str]]:
        """What each stream uses."""
        chance = random.Random(SEED)
        found = []
        for number, site in enumerate(self.sites):
            names = {f"image@{SHARED}"} | ({f"image@{FEW}"} if number < FEW_USERS else set())
            while len(names) < self._targets - PAIRS:
                names.add(_one(chance, self.names, site))
            while len(names) < self._targets:
                others = [each for each in chance.sample(self.names, 3) if each != site]
                names.add(f"{chance.choice(SERVICES)}@{others[0]}|{others[1]}")
            found.append(sorted(names))
        return found

    def more(self, count: int, *, seed: int) -> list[list[str]]:
        """Return targets for each stream that it doesn't use."""
        chance = random.Random(seed)
        found = []
        for site, used in zip(self.sites, self.targets, strict=True):
            names: list[str] = []
            while len(names) < count:
                name = _one(chance, self.names, site)
                if name not in used and name not in names:
                    names.append(name)
            found.append(names)
        return found

    def one_cloud_targets(self) -> Iterator[str]:
        """Yield every target of one service at one cloud."""
        for name in self.names:
            yield from (f"{service}@{name}" for service in SERVICES)

    def shuffled(self) -> list[str]:
        """Return all clouds but the two special ones, in an order that spreads changes."""
        names = list(self.names)
        random.Random(SEED).shuffle(names)
        return names

    def cloud(self, name: str, change: int = 0) -> Cloud:
        """Return a cloud; another `change` of it has another port for other sites."""
        number = 0 if name in (SHARED, FEW) else int(name.rpartition("-")[2])
        host = f"127.{1 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
        services = {
            service: {"endpoints": [{"address": host, "port": 9000 + index}]}
            for index, service in enumerate(SERVICES)
        }
        return manifest(
            name,
            dict([("region", f"r{number % 100}"), EVERYWHERE.split("=")]),
            front={"address": host, "port": 8080},
            peer={"address": host, "port": 10_000 + change},
            services=services,
            accept=[{"clouds": [f"[{EVERYWHERE}]"]}],
        )


class Putter:
    """Puts clouds into etcd, over one connection."""

    def __init__(self, port: int) -> None:
        options = [("grpc.enable_http_proxy", 0)]
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=options)
        self._stub = rpc.KVStub(self._channel)

    def put(self, cloud: Cloud) -> None:
        """Put one; returns when etcd has it."""
        key = f"{KEYS}{cloud.name}".encode()
        self._stub.Put(rpc.PutRequest(key=key, value=to_json(cloud)))

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


def _one(chance: random.Random, names: Sequence[str], site: str) -> str:
    cloud = chance.choice(names)
    while cloud == site:
        cloud = chance.choice(names)
    return f"{chance.choice(SERVICES)}@{cloud}"
