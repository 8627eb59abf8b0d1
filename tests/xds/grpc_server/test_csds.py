"""CSDS by a real gRPC client that reads with Envoy's own types: what each node runs."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy_data_plane.envoy.service.status.v3 import (
    ClientConfig,
    ClientStatusRequest,
    ClientStatusResponse,
)
from envoy_data_plane.envoy.type.matcher.v3 import NodeMatcher, StringMatcher, StructMatcher

from scopeway.control_plane.identity import certificates
from scopeway.xds.encoding import protobuf as wire
from scopeway.xds.events import Acked, Event, Nacked, StreamClosed
from scopeway.xds.grpc_server.server import Server, serve
from scopeway.xds.limits import Limits
from scopeway.xds.security import Certificates, Security
from scopeway.xds.source import Node
from scopeway.xds.type_urls import CLUSTER, LISTENER, ROUTE
from xds_model import Store, write_request

pytestmark = pytest.mark.asyncio

ADS = "/envoy.service.discovery.v3.AggregatedDiscoveryService/"
CSDS = "/envoy.service.status.v3.ClientStatusDiscoveryService/"
GUARD = 20.0


class Heard:
    """An observer that counts ACKs and NACKs."""

    def __init__(self) -> None:
        self._answers = asyncio.Semaphore(0)
        self.closed = asyncio.Event()

    def observe(self, node: Node | None, event: Event) -> None:
        if isinstance(event, (Acked, Nacked)):
            self._answers.release()
        elif isinstance(event, StreamClosed):
            self.closed.set()

    async def answer(self) -> None:
        async with asyncio.timeout(GUARD):
            await self._answers.acquire()


class Client:
    """One xDS stream, delta or state of the world."""

    def __init__(self, channel: grpc.aio.Channel, heard: Heard, node: str, *, sotw: bool) -> None:
        method = "StreamAggregatedResources" if sotw else "DeltaAggregatedResources"
        self.call: Any = channel.stream_stream(ADS + method)()
        self.heard = heard
        self._sotw = sotw
        self._node: tuple[str, str] | None = (node, node.partition("/")[0])
        self._names: list[str] = []
        self._nonces: dict[str, str] = {}

    async def ask(self, type_url: str, *names: str) -> None:
        self._names = list(names)
        await self._send(type_url, names)

    async def receive(self) -> str:
        """Read a response; return its type."""
        async with asyncio.timeout(GUARD):
            data = await self.call.read()
        texts = {n: data[s:e].decode() for n, s, e in wire.fields(data) if n in (4, 5)}
        self._nonces[texts[4]] = texts[5]
        return texts[4]

    async def answer(self, type_url: str, error: str | None = None) -> None:
        """Acknowledge or reject the last response; return when the server has processed that."""
        await self._send(type_url, self._names if self._sotw else (), error)
        await self.heard.answer()

    async def take(self, error: str | None = None) -> None:
        await self.answer(await self.receive(), error)

    async def _send(self, type_url: str, names: Iterable[str], error: str | None = None) -> None:
        node, self._node = self._node, None
        nonce = self._nonces.get(type_url, "")
        if not self._sotw:
            data = write_request(type_url, node=node, subscribe=names, nonce=nonce, error=error)
        else:
            parts = [wire.field_string(3, name) for name in names]
            if node is not None:
                body = wire.field_string(1, node[0]) + wire.field_string(2, node[1])
                parts.append(wire.field_bytes(2, body))
            parts += [wire.field_string(4, type_url), wire.field_string(5, nonce)]
            if error is not None:
                parts.append(wire.field_bytes(6, wire.field_string(2, error)))
            data = b"".join(parts)
        await self.call.write(data)


class World:
    """A server with CSDS, its store and its clients."""

    def __init__(self, server: Server, store: Store, heard: Heard, channel: grpc.aio.Channel):
        self.server, self.store, self.heard, self.channel = server, store, heard, channel

    def client(self, node: str = "site/1", *, sotw: bool = False) -> Client:
        return Client(self.channel, self.heard, node, sotw=sotw)

    def change(self, type_url: str, name: str, text: str | None) -> None:
        if text is None:
            del self.store.texts[type_url, name]
        else:
            self.store.texts[type_url, name] = text
        self.server.notifier.resources_changed(type_url, [name])

    def version(self, type_url: str, name: str) -> str:
        resource = self.store.attach(Node(id="", cluster="")).resource(type_url, name)
        assert resource is not None
        return resource.version

    async def configs(self, *ids: str) -> list[ClientConfig]:
        return await fetch(self.channel, *ids)

    async def states(self) -> dict[str, str]:
        """Return the status of each resource of the only node, by name."""
        (config,) = await self.configs()
        return {each.name: each.config_status.name or "" for each in config.generic_xds_configs}

    async def until(self, states: dict[str, str]) -> None:
        """Wait until the server has processed a request that gets no response."""
        seen: dict[str, str] = {}
        for _ in range(500):
            seen = await self.states()
            if seen == states:
                return
            await asyncio.sleep(0.01)
        assert seen == states


async def fetch(channel: grpc.aio.Channel, *ids: str) -> list[ClientConfig]:
    request = ClientStatusRequest(
        node_matchers=[NodeMatcher(node_id=StringMatcher(exact=each)) for each in ids]
    )
    async with asyncio.timeout(GUARD):
        data = await channel.unary_unary(CSDS + "FetchClientStatus")(bytes(request))
    response = ClientStatusResponse.parse(data)
    assert bytes(response) == data, "the bytes are those of Envoy's own types"
    return response.config


@asynccontextmanager
async def world(limits: Limits | None = None, *, csds: bool = True) -> AsyncIterator[World]:
    store = Store(texts={(CLUSTER, "a"): "1", (CLUSTER, "b"): "1", (LISTENER, "l"): "1"})
    heard = Heard()
    async with (
        serve(store, listen="127.0.0.1:0", observer=heard, limits=limits, csds=csds) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        yield World(server, store, heard, channel)


both = pytest.mark.parametrize("sotw", [False, True], ids=["delta", "sotw"])


@both
async def test_a_sent_resource_is_stale_until_its_ack(sotw: bool) -> None:
    async with world() as w:
        client = w.client(sotw=sotw)
        await client.ask(CLUSTER, "a", "nowhere")
        await client.receive()
        sent = await w.states()
        await client.answer(CLUSTER)
        (config,) = await w.configs()

        assert sent["a"] == "STALE"
        assert config.node is not None
        assert (config.node.id, config.node.cluster) == ("site/1", "site")
        a, nowhere = config.generic_xds_configs
        assert (a.type_url, a.name, a.version_info) == (CLUSTER, "a", w.version(CLUSTER, "a"))
        assert (a.config_status.name, a.error_state) == ("SYNCED", None)
        assert (nowhere.name, nowhere.version_info) == ("nowhere", "")
        assert nowhere.config_status.name == "NOT_SENT"


async def test_a_resource_that_waits_for_an_ack_of_another_response_is_not_sent() -> None:
    async with world() as w:
        client = w.client()
        await client.ask(CLUSTER, "a", "b")
        await client.take()
        w.change(CLUSTER, "a", "2")
        await client.receive()
        w.change(CLUSTER, "b", "2")
        w.change(CLUSTER, "a", "3")
        (config,) = await w.configs()
        await client.answer(CLUSTER)
        await client.take()

        a, b = config.generic_xds_configs
        assert a.config_status.name == "STALE"
        assert a.version_info not in ("", w.version(CLUSTER, "a"))  # what was sent
        assert (b.config_status.name, b.version_info) == ("NOT_SENT", w.version(CLUSTER, "b"))
        assert await w.states() == {"a": "SYNCED", "b": "SYNCED"}


@both
async def test_a_rejected_resource_is_an_error_with_the_message_of_the_client(sotw: bool) -> None:
    async with world() as w:
        client = w.client(sotw=sotw)
        await client.ask(CLUSTER, "a")
        await client.take()
        w.change(CLUSTER, "a", "bad")
        await client.take(error="a: no such thing")
        (config,) = await w.configs()

        (a,) = config.generic_xds_configs
        bad = w.version(CLUSTER, "a")
        assert (a.config_status.name, a.version_info) == ("ERROR", bad)
        assert a.error_state is not None
        assert (a.error_state.details, a.error_state.version_info) == ("a: no such thing", bad)

        w.change(CLUSTER, "a", "good")
        await client.receive()
        (config,) = await w.configs()
        (a,) = config.generic_xds_configs
        assert (a.config_status.name, a.version_info) == ("STALE", w.version(CLUSTER, "a"))
        assert a.error_state is not None
        assert a.error_state.version_info == bad  # the last that is known of it

        await client.answer(CLUSTER)
        (config,) = await w.configs()
        (a,) = config.generic_xds_configs
        assert (a.config_status.name, a.error_state) == ("SYNCED", None)


async def test_a_rejected_version_that_the_source_replaced_is_no_error() -> None:
    async with world() as w:
        client = w.client()
        await client.ask(CLUSTER, "a")
        await client.take()
        w.change(CLUSTER, "a", "bad")
        await client.take(error="no")
        w.change(CLUSTER, "a", "1")
        (config,) = await w.configs()

        (a,) = config.generic_xds_configs
        assert (a.config_status.name, a.error_state) == ("SYNCED", None)


async def test_delta_finds_the_bad_resource_among_many_and_the_others_are_synced() -> None:
    async with world() as w:
        client = w.client()
        await client.ask(CLUSTER, "a", "b")
        await client.take(error="one of them is bad")
        assert await w.states() == {"a": "STALE", "b": "ERROR"}  # "a" is sent again, alone
        await client.take()
        await client.take(error="b is bad")

        assert await w.states() == {"a": "SYNCED", "b": "ERROR"}
        (config,) = await w.configs()
        b = config.generic_xds_configs[1]
        assert b.error_state is not None
        assert b.error_state.details == "b is bad"


async def test_a_rejected_full_state_is_an_error_of_all_its_resources() -> None:
    async with world() as w:
        client = w.client(sotw=True)
        await client.ask(CLUSTER, "a", "b")
        await client.take(error="b is bad")
        assert await w.states() == {"a": "ERROR", "b": "ERROR"}

        w.change(CLUSTER, "b", "2")
        await client.take()
        assert await w.states() == {"a": "SYNCED", "b": "SYNCED"}


@both
async def test_new_names_of_the_wildcard_are_reported_before_they_are_sent(sotw: bool) -> None:
    async with world() as w:
        w.store.wildcards[CLUSTER] = ["a"]
        client = w.client(sotw=sotw)
        await client.ask(CLUSTER)
        await client.receive()
        w.store.wildcards[CLUSTER] = ["a", "b"]
        w.server.notifier.wildcard_changed(CLUSTER, group="site")

        assert await w.states() == {"a": "STALE", "b": "NOT_SENT"}


async def test_a_resource_that_is_requested_again_is_not_sent_until_it_is_sent() -> None:
    async with world() as w:
        client = w.client()
        await client.ask(CLUSTER, "a", "b")
        await client.take()
        w.change(CLUSTER, "b", "2")
        await client.receive()
        assert await w.states() == {"a": "SYNCED", "b": "STALE"}
        await client.call.write(write_request(CLUSTER, subscribe=["a"]))

        await w.until({"a": "NOT_SENT", "b": "STALE"})


@pytest.mark.parametrize("names", [b"", wire.field_string(3, "l")], ids=["wildcard", "named"])
async def test_another_state_of_a_returning_client_is_not_synced(names: bytes) -> None:
    async with world() as w:
        w.store.wildcards[LISTENER] = ["l"]
        client = w.client(sotw=True)
        await client.ask(CLUSTER, "a")
        await client.receive()
        w.change(CLUSTER, "a", "2")  # news that must wait, so that the types behind do
        other_life = wire.field_string(1, "ffff") + names
        await client.call.write(other_life + wire.field_string(4, LISTENER))

        await w.until({"a": "STALE", "l": "NOT_SENT"})


async def test_a_resource_whose_lookup_fails_is_unknown() -> None:
    async with world() as w:
        client = w.client()
        await client.ask(CLUSTER, "a")
        await client.take()
        w.store.failing.add("a")

        assert await w.states() == {"a": "UNKNOWN"}


async def test_matchers_select_nodes_by_id_and_no_matcher_selects_all() -> None:
    async with world() as w:
        for node in ("site/1", "site/2", "other/1"):
            client = w.client(node)
            await client.ask(CLUSTER, "a")
            await client.take()

        async def ids(*matched: str) -> list[str]:
            return [each.node.id for each in await w.configs(*matched) if each.node]

        assert await ids() == ["site/1", "site/2", "other/1"]
        assert await ids("site/2", "other/1", "nobody") == ["site/2", "other/1"]
        assert await ids("nobody") == []


async def test_the_streams_of_a_node_share_one_client_config() -> None:
    async with world() as w:
        for type_url, name in ((CLUSTER, "a"), (LISTENER, "l")):
            client = w.client()
            await client.ask(type_url, name)
            await client.take()
        assert await w.states() == {"a": "SYNCED", "l": "SYNCED"}

        client.call.cancel()
        async with asyncio.timeout(GUARD):
            await w.heard.closed.wait()
        assert await w.states() == {"a": "SYNCED"}


async def test_the_requests_of_a_csds_stream_get_one_response_each() -> None:
    async with world() as w:
        asking: Any = w.channel.stream_stream(CSDS + "StreamClientStatus")()
        await asking.write(b"")
        assert await asking.read() == b""
        client = w.client()
        await client.ask(ROUTE, "r")
        await client.take()
        await asking.write(b"")
        response = ClientStatusResponse.parse(await asking.read())

        assert [each.node.id for each in response.config if each.node] == ["site/1"]
        await asking.done_writing()
        assert await asking.code() is grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("matcher", "reason"),
    [
        (
            NodeMatcher(node_id=StringMatcher(prefix="site/")),
            "node_matchers[0].node_id.prefix is not supported; use node_id.exact",
        ),
        (
            NodeMatcher(node_id=StringMatcher(exact="a", ignore_case=True)),
            "node_matchers[0].node_id.ignore_case is not supported",
        ),
        (
            NodeMatcher(node_id=StringMatcher(exact="a"), node_metadatas=[StructMatcher()]),
            "node_matchers[0].node_metadatas is not supported; use node_id.exact",
        ),
        (
            NodeMatcher(),
            "node_matchers[0] has no node_id.exact; no other matcher is supported",
        ),
    ],
    ids=["prefix", "ignore_case", "metadata", "empty"],
)
async def test_unsupported_matchers_are_refused_with_the_reason(
    matcher: NodeMatcher, reason: str
) -> None:
    data = bytes(ClientStatusRequest(node_matchers=[matcher]))
    async with world() as w:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await w.channel.unary_unary(CSDS + "FetchClientStatus")(data)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == reason


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x03\x0a\x05a", b"\x0a\x05\x0a\x03\x0a\x01\xff"])
async def test_bytes_that_are_no_csds_request_are_refused(data: bytes) -> None:
    async with world() as w:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await w.channel.unary_unary(CSDS + "FetchClientStatus")(data)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (refused.value.details() or "").startswith("malformed ClientStatusRequest: ")


async def test_a_csds_response_over_the_limit_says_what_to_request_instead() -> None:
    async with world(Limits(status_bytes=100)) as w:
        client = w.client()
        await client.ask(CLUSTER, "a", "b")
        await client.take()
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await w.configs()

    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "more than 100 bytes: request fewer nodes" in (refused.value.details() or "")


async def test_csds_is_off_by_default() -> None:
    async with world(csds=False) as w:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await w.configs()

    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


NOW = datetime.now(UTC)
AUTHORITY = certificates.make_authority("td", now=NOW, lifetime=timedelta(days=1))
SERVER = certificates.issue(
    AUTHORITY, None, addresses=["localhost"], now=NOW, lifetime=timedelta(hours=1)
)


@asynccontextmanager
async def proven(port: int, cloud: str) -> AsyncIterator[grpc.aio.Channel]:
    shown = certificates.issue(AUTHORITY, cloud, now=NOW, lifetime=timedelta(hours=1))
    credentials = grpc.ssl_channel_credentials(AUTHORITY.pem, shown.key, shown.certificate)
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
        yield channel


async def test_with_mutual_tls_a_csds_client_sees_only_nodes_of_its_identity() -> None:
    certificates = Certificates(
        certificate=SERVER.certificate, key=SERVER.key, authorities=AUTHORITY.pem
    )
    ends, believed = [time.time() + 3600], [True]
    security = Security(
        certificates=certificates, expires_at=lambda _: ends[0], is_trusted=lambda _: believed[0]
    )
    heard = Heard()
    store = Store(texts={(CLUSTER, "a"): "1"})
    async with (
        serve(store, listen="127.0.0.1:0", observer=heard, security=security, csds=True) as server,
        proven(server.port, "one") as one,
        proven(server.port, "two") as two,
    ):
        for channel, node in ((one, "one/1"), (two, "one/1")):  # the second only claims it
            client = Client(channel, heard, node, sotw=False)
            await client.ask(CLUSTER, "a")
            await client.take()
        assert len(server.status()) == 2
        assert len(await fetch(one)) == len(await fetch(two, "one/1")) == 1
        assert len((await fetch(one))[0].generic_xds_configs) == 1

        ends[0] = time.time() - 1
        with pytest.raises(grpc.aio.AioRpcError, match="the client certificate has expired"):
            await fetch(one)
        believed[0] = False
        with pytest.raises(grpc.aio.AioRpcError, match="the client certificate is not trusted"):
            await fetch(one)
