"""Move two groups of Envoys from one cluster to another, the canaries first.

Each Enter goes one step further: canary to green, stable to green, end. An Envoy belongs to the
group that its `node.cluster` names.
"""

import argparse
import asyncio

from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterDiscoveryType,
    ClusterEdsClusterConfig,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    AggregatedConfigSource,
    ConfigSource,
    SocketAddress,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import (
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpFilter,
    Rds,
)
from envoy_data_plane.google.protobuf import Any

from scopeway import xds
from scopeway.xds.encoding.protobuf import field_bytes, field_string, field_varint

GROUPS = ("canary", "stable")
ADS = ConfigSource(ads=AggregatedConfigSource())


def group(node):
    if node.cluster not in GROUPS:
        raise xds.ProtocolError(
            f"node.cluster of {node.id} is {node.cluster!r}, not one of {', '.join(GROUPS)}",
            status="PERMISSION_DENIED",
        )
    return node.cluster


def endpoints(cluster_name, port):
    """A ClusterLoadAssignment by hand: one endpoint on this machine."""
    socket_address = field_string(2, "127.0.0.1") + field_varint(3, port)
    endpoint = field_bytes(1, field_bytes(1, socket_address))  # Endpoint.address.socket_address
    lb_endpoint = field_bytes(1, endpoint)
    locality = field_bytes(2, lb_endpoint)
    body = field_string(1, cluster_name) + field_bytes(2, locality)
    return xds.resource_from_bytes(xds.ENDPOINT, cluster_name, body)


def cluster(name, port):
    eds = ClusterEdsClusterConfig(eds_config=ADS)
    return [
        Cluster(name=name, type=ClusterDiscoveryType.EDS, eds_cluster_config=eds),
        endpoints(name, port),
    ]


def web(cluster_name, port):
    """A listener whose routes lead to a cluster."""
    manager = HttpConnectionManager(
        stat_prefix="web",
        rds=Rds(config_source=ADS, route_config_name="routes"),
        http_filters=[HttpFilter(name="router", typed_config=Any.pack(Router()))],
    )
    http = Filter(name="http", typed_config=Any.pack(manager))
    listener = Listener(
        name="web",
        address=Address(socket_address=SocketAddress(address="127.0.0.1", port_value=port)),
        filter_chains=[FilterChain(filters=[http])],
    )
    route = Route(match=RouteMatch(prefix="/"), route=RouteAction(cluster=cluster_name))
    host = VirtualHost(name="all", domains=["*"], routes=[route])
    routes = RouteConfiguration(name="routes", virtual_hosts=[host])
    return [listener, routes]


class Events:
    def observe(self, node, event):
        name = node.id if node else "?"
        if isinstance(event, xds.Sent):
            short = event.type_url.rsplit(".", 1)[-1]
            print(f"{name}: sent {short} +{event.resources} -{event.removed}", flush=True)
        elif isinstance(event, xds.Nacked):
            print(f"{name}: rejected {event.names}: {event.message}", flush=True)


def has_all(session, snapshot):
    """Whether a client has acknowledged every resource of a snapshot as it is now."""
    synced = {
        (state.type_url, state.name)
        for state in session.resource_states()
        if state.status == xds.Status.SYNCED
    }
    return all(
        (type_url, name) in synced
        for type_url in snapshot.type_urls()
        for name in snapshot.resources(type_url)
    )


async def acknowledged(server, cache, key):
    """Wait until every Envoy of a group has the group's snapshot, and there is one."""
    while True:
        sessions = [each for each in server.sessions() if each.is_attached and each.group == key]
        if sessions and all(has_all(each, cache.get(key)) for each in sessions):
            return
        await asyncio.sleep(0.05)


async def main(arguments):
    cache = xds.SnapshotCache(group=group)
    clusters = {"blue": arguments.blue, "green": arguments.green}
    listeners = {"canary": arguments.canary, "stable": arguments.stable}
    blue, green = (cluster(name, port) for name, port in clusters.items())
    for key in GROUPS:
        cache.set(key, *blue, *web("blue", listeners[key]))
    async with xds.serve(cache, listen=arguments.listen, observer=Events()) as server:
        print(f"serving on port {server.port}", flush=True)
        for key in GROUPS:
            await asyncio.to_thread(input, f"Enter moves {key} to green\n")
            if not arguments.at_once:
                cache.set(key, *blue, *green, *web("blue", listeners[key]))
                await acknowledged(server, cache, key)
                cache.set(key, *blue, *green, *web("green", listeners[key]))
                await acknowledged(server, cache, key)
            cache.set(key, *green, *web("green", listeners[key]))
            await acknowledged(server, cache, key)
            print(f"{key} is on green", flush=True)
        await asyncio.to_thread(input, "Enter ends\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", default="127.0.0.1:18000")
    parser.add_argument("--blue", type=int, default=9001, help="port of the blue service")
    parser.add_argument("--green", type=int, default=9002, help="port of the green service")
    parser.add_argument("--canary", type=int, default=10001, help="port of the canary Envoys")
    parser.add_argument("--stable", type=int, default=10002, help="port of the stable Envoys")
    parser.add_argument("--at-once", action="store_true", help="for Envoys that speak delta")
    asyncio.run(main(parser.parse_args()))
