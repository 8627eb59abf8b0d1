"""One certified site that attacks its control plane: xds_attacker.py ATTACK PORT FOLDER CLOUD.

FOLDER holds the certificate. It does what it can until it is ended; whoever starts it decides how
much CPU it gets.
"""

import queue
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc

from scopeway.xds.encoding.protobuf import field_bytes, field_string, field_varint
from scopeway.xds.type_urls import CLUSTER

SERVICE = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
STREAMS = 8


def struct(values: dict[str, Any]) -> bytes:
    out = b""
    for key, value in values.items():
        text = isinstance(value, str)
        encoded = field_string(3, value) if text else field_bytes(5, struct(value))
        out += field_bytes(1, field_string(1, key) + field_bytes(2, encoded))
    return out


class Site:
    """The certificate of a cloud, and what its Envoy says of itself."""

    def __init__(self, port: int, folder: Path, cloud: str) -> None:
        self.port, self.cloud = port, cloud
        self._credentials = grpc.ssl_channel_credentials(
            *((folder / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt"))
        )

    def channel(self) -> grpc.Channel:
        options = [
            ("grpc.max_receive_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.ssl_target_name_override", "localhost"),
        ]
        return grpc.secure_channel(f"127.0.0.1:{self.port}", self._credentials, options)

    def node(self, instance: object, pad: str = "") -> bytes:
        files = {"certificate": "/c", "key": "/k", "authorities": "/a"}
        metadata = {"scopeway": {"protocol": "2", "access_log": "/dev/null", "identity": files}}
        return (
            field_string(1, f"{self.cloud}/{instance}{pad}")
            + field_string(2, self.cloud)
            + field_bytes(3, struct(metadata))
        )


class Stream:
    """One stream; answers are acknowledged, unless `quiet`."""

    def __init__(self, channel: grpc.Channel, *, sotw: bool = False, quiet: bool = False) -> None:
        self._requests: queue.Queue[bytes | None] = queue.Queue(64)
        method = SERVICE + ("Stream" if sotw else "Delta") + "AggregatedResources"
        self.call = channel.stream_stream(method)(iter(self._requests.get, None))
        self.answers = 0
        self.ended = False
        self._quiet = quiet
        threading.Thread(target=self._read, daemon=True).start()

    def send(self, data: bytes) -> None:
        while not self.ended:
            try:
                self._requests.put(data, timeout=0.2)
            except queue.Full:
                continue
            return

    def _read(self) -> None:
        try:
            for _ in self.call:
                self.answers += 1
                if not self._quiet:
                    self.send(delta(nonce=str(self.answers)))
        except grpc.RpcError:
            pass
        self.ended = True


def delta(
    node: bytes = b"",
    *,
    url: str = CLUSTER,
    names: list[str] | None = None,
    gone: list[str] | None = None,
    versions: list[str] | None = None,
    nonce: str = "",
    error: str | None = None,
) -> bytes:
    parts = [field_bytes(1, node)] if node else []
    parts += [field_string(2, url)]
    parts += [field_string(3, name) for name in names or ()]
    parts += [field_string(4, name) for name in gone or ()]
    parts += [
        field_bytes(5, field_string(1, name) + field_string(2, "0123456789abcd"))
        for name in versions or ()
    ]
    parts += [field_string(6, nonce)] if nonce else []
    if error is not None:
        parts.append(field_bytes(7, field_varint(1, 13) + field_string(2, error)))
    return b"".join(parts)


def slow(first: int, count: int) -> list[str]:
    """Names that take long to read: deep, and with as many labels and clouds as may be."""
    return [
        f"image@{'(' * 31}{'&'.join(f'c{each}z{label}' for label in range(31))}{')' * 31}"
        for each in range(first, first + count)
    ]


def edges(count: int) -> list[str]:
    return [f"image@edge-{number}" for number in range(count)]


def endless(site: Site) -> Iterator[tuple[int, grpc.Channel]]:
    number = 0
    while True:
        with site.channel() as channel:
            yield number, channel
        number += 1


def slow_names(site: Site) -> None:
    """4,900 slow names on each of eight streams, and anew when these are answered."""
    streams = [Stream(site.channel()) for _ in range(STREAMS)]
    for number, stream in enumerate(streams):
        stream.send(delta(site.node(number)))
    first = 0
    while True:
        for stream in streams:
            stream.send(delta(names=slow(first, 4900)))
            first += 4900


def short_names(site: Site) -> None:
    """700,000 names in one request, the largest that may be, again and again."""
    data = delta(site.node("m"), names=[f"i@{number}" for number in range(700_000)])
    for _, channel in endless(site):
        stream = Stream(channel)
        while not stream.ended:
            stream.send(data)
            time.sleep(0.1)


def reconnect(site: Site) -> None:
    """A client that lists 20,000 names and versions comes back all the time."""
    names = edges(20_000)
    for number, channel in endless(site):
        stream = Stream(channel)
        stream.send(delta(site.node(f"r{number % 4}"), names=[*names, "*"], versions=names))
        until = time.monotonic() + 1
        while not stream.answers and not stream.ended and time.monotonic() < until:
            time.sleep(0.005)


def unsubscribe(site: Site) -> None:
    """10,000 names are taken and left in turn."""
    names = edges(10_000)
    for number, channel in endless(site):
        stream = Stream(channel)
        stream.send(delta(site.node(f"u{number % 4}")))
        while not stream.ended:
            stream.send(delta(names=names))
            stream.send(delta(gone=names))


def rejections(site: Site) -> None:
    """NACKs with a long text that belong to nothing."""
    for number, channel in endless(site):
        stream = Stream(channel)
        stream.send(delta(site.node(f"n{number % 4}")))
        while not stream.ended:
            stream.send(delta(nonce="x", error="E" * 100_000))
            stream.send(delta(nonce="x", error="no\n2026 forged \x1b[31m"))


def sotw(site: Site) -> None:
    """The complete state of 10,000 clusters, asked for anew each time."""
    names = b"".join(field_string(3, name) for name in edges(10_000))
    url = field_string(4, CLUSTER)
    for number, channel in endless(site):
        stream = Stream(channel, sotw=True, quiet=True)
        node = field_bytes(2, site.node(f"s{number % 4}"))
        stream.send(node + names + url)
        seen = 0
        while not stream.ended:
            if stream.answers > seen:
                seen = stream.answers
                nonce = field_string(5, str(seen))
                stream.send(field_string(3, f"image@x{seen}") + url + nonce)
                stream.send(names + url)
            time.sleep(0.01)


def unserved_types(site: Site) -> None:
    """Names of 4 KiB of sixty types that nobody serves, on eight streams."""
    streams = [Stream(site.channel(), quiet=True) for _ in range(STREAMS)]
    for number, stream in enumerate(streams):
        stream.send(delta(site.node(f"t{number}")))
    count = 0
    while not all(stream.ended for stream in streams):
        for stream in streams:
            count += 1
            names = [f"{count}-{number}-{'n' * 4000}" for number in range(80)]
            stream.send(delta(url=f"type.googleapis.com/x{count % 60}", names=names))


def long_node(site: Site) -> None:
    """A node.id of 7 MiB."""
    data = delta(site.node("l", "A" * (7 << 20)))
    for _, channel in endless(site):
        stream = Stream(channel)
        stream.send(data)
        while not stream.ended:
            time.sleep(0.005)


def flap(site: Site) -> None:
    """Streams that come and go at once, from many connections."""

    def go(channel: grpc.Channel) -> None:
        while True:
            stream = Stream(channel)
            stream.send(delta(site.node("f")))
            time.sleep(0.004)
            stream.call.cancel()

    for _ in range(18):
        threading.Thread(target=go, args=(site.channel(),), daemon=True).start()
    threading.Event().wait()


ATTACKS = {
    each.__name__: each
    for each in (
        slow_names,
        short_names,
        reconnect,
        unsubscribe,
        rejections,
        sotw,
        unserved_types,
        long_node,
        flap,
    )
}

if __name__ == "__main__":
    attack, xds_port, folder, cloud = sys.argv[1:]
    ATTACKS[attack](Site(int(xds_port), Path(folder), cloud))
