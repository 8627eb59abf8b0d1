"""Serve each node of a fleet its own resources, over mutual TLS.

The certificate of a node bears the URI `spiffe://fleet.example/<node id>`. A node that claims
another id is refused. A line on standard input prints the status of all clients as JSON. SIGTERM
ends the program gracefully.
"""

import argparse
import asyncio
import json
import signal
import sys
import threading
from pathlib import Path

from cryptography import x509
from envoy_data_plane.envoy.config.core.v3 import Address, DataSource, SocketAddress
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    Route,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpFilter,
)
from envoy_data_plane.google.protobuf import Any

from scopeway import xds


def owner(node, prefix):
    """The key of a node's snapshot: its id, if its certificate bears it."""
    if node.identities != (prefix + node.id,):
        raise xds.ProtocolError(
            f"the certificate of {node.id} bears {node.identities}, not {prefix}{node.id}",
            status="PERMISSION_DENIED",
        )
    return node.id


def greeting(node_id, port):
    """A listener that answers with the id of the node."""
    answer = Route(
        match=RouteMatch(prefix="/"),
        direct_response=DirectResponseAction(
            status=200, body=DataSource(inline_string=f"hello {node_id}\n")
        ),
    )
    manager = HttpConnectionManager(
        stat_prefix="web",
        route_config=RouteConfiguration(
            name="routes", virtual_hosts=[VirtualHost(name="all", domains=["*"], routes=[answer])]
        ),
        http_filters=[HttpFilter(name="router", typed_config=Any.pack(Router()))],
    )
    return Listener(
        name="web",
        address=Address(socket_address=SocketAddress(address="127.0.0.1", port_value=port)),
        filter_chains=[FilterChain(filters=[Filter(name="http", typed_config=Any.pack(manager))])],
    )


def certificates(folder):
    return xds.Certificates(
        certificate=(folder / "tls.crt").read_bytes(),
        key=(folder / "tls.key").read_bytes(),
        authorities=(folder / "ca.crt").read_bytes(),
    )


def expiry(pem):
    return x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()


def status(server, now):
    return [
        {
            "node": stream.node.id,
            "peer": stream.peer,
            "seconds": round(now - stream.since, 1),
            "types": {
                each.type_url: {
                    "acked": each.acked,
                    "in_flight": each.in_flight,
                    "rejected": {name: why.message for name, why in each.rejected.items()},
                }
                for each in stream.types
            },
        }
        for stream in server.statuses()
    ]


def on_lines(loop, function):
    """Call a function on the event loop for each line of standard input, until it ends."""

    def read():
        for _ in sys.stdin:
            loop.call_soon_threadsafe(function)

    threading.Thread(target=read, daemon=True).start()


async def main(arguments):
    loop = asyncio.get_running_loop()
    cache = xds.SnapshotCache(group=lambda node: owner(node, arguments.prefix))
    for node_id, port in json.loads(arguments.fleet.read_text()).items():
        cache.set(node_id, greeting(node_id, port))
    security = xds.Security(certificates=lambda: certificates(arguments.tls), expires_at=expiry)
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    async with xds.serve(cache, listen=arguments.listen, security=security, health=True) as server:
        print(f"serving on port {server.port}", flush=True)
        on_lines(loop, lambda: print(json.dumps(status(server, loop.time())), flush=True))
        await stop.wait()
        print("draining", flush=True)
        await server.drain_slowly(over=arguments.drain)
    print("stopped", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("fleet", type=Path, help="a JSON file: port of the listener by node id")
    parser.add_argument("--tls", type=Path, default=Path("tls"), help="tls.crt, tls.key, ca.crt")
    parser.add_argument("--prefix", default="spiffe://fleet.example/", help="of the URIs")
    parser.add_argument("--listen", default="127.0.0.1:18000")
    parser.add_argument("--drain", type=float, default=1.0, help="seconds")
    asyncio.run(main(parser.parse_args()))
