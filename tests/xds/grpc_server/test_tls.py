"""Mutual TLS with a real gRPC client: what is verified, and for how long."""

import asyncio
import logging
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import grpc.aio
import pytest

from scopeway.control_plane.identity import certificates
from scopeway.xds.errors import ProtocolError
from scopeway.xds.grpc_server.server import serve
from scopeway.xds.grpc_server.tls import ReloadedCertificates
from scopeway.xds.limits import Limits
from scopeway.xds.security import Certificates, Security
from scopeway.xds.source import Node, NodeView
from scopeway.xds.type_urls import CLUSTER
from xds_model import Store, read_response, write_request

pytestmark = pytest.mark.asyncio

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
GUARD = 20.0
NOW = datetime.now(UTC)
AUTHORITY = certificates.make_authority("td", now=NOW, lifetime=timedelta(days=1))
SERVER = certificates.issue(
    AUTHORITY, None, addresses=["localhost"], now=NOW, lifetime=timedelta(hours=1)
)
CLIENT = certificates.issue(AUTHORITY, "site", now=NOW, lifetime=timedelta(hours=1))
CERTIFICATES = Certificates(
    certificate=SERVER.certificate, key=SERVER.key, authorities=AUTHORITY.pem
)
SITE = "spiffe://td/cloud/site"


class Gate(Store):
    """A store that remembers the nodes, and serves only SITE."""

    nodes: list[Node]

    def attach(self, node: Node) -> NodeView:
        self.nodes = [*getattr(self, "nodes", []), node]
        if node.identities not in (None, (SITE,)):
            raise ProtocolError("not you", status="PERMISSION_DENIED")
        return super().attach(node)


def security(ends_in: float = 3600, believed: list[bool] | None = None) -> Security:
    answers = believed or [True]
    return Security(
        certificates=CERTIFICATES,
        expires_at=lambda _: time.time() + ends_in,
        is_trusted=lambda _: answers[0],
    )


def connect(port: int, shown: certificates.Issued = CLIENT) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(AUTHORITY.pem, shown.key, shown.certificate)
    return grpc.aio.secure_channel(f"localhost:{port}", credentials)


async def begin(channel: grpc.aio.Channel) -> Any:
    call = channel.stream_stream(METHOD)()
    await call.write(write_request(CLUSTER, node=("claimed/1", "claimed"), subscribe=["a"]))
    return call


async def end(call: Any) -> str:
    async with asyncio.timeout(GUARD):
        return f"{(await call.code()).name}: {await call.details()}"


async def test_the_source_gets_the_verified_identities_and_the_claimed_node() -> None:
    gate = Gate(texts={(CLUSTER, "a"): "1"})
    async with (
        serve(gate, listen="127.0.0.1:0", security=security()) as server,
        connect(server.port) as channel,
    ):
        call = await begin(channel)
        assert read_response(await call.read()).texts == {"a": "1"}

    assert [(each.id, each.identities) for each in gate.nodes] == [("claimed/1", (SITE,))]


async def test_without_tls_a_node_has_no_identities() -> None:
    gate = Gate(texts={(CLUSTER, "a"): "1"})
    async with (
        serve(gate, listen="127.0.0.1:0") as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        await (await begin(channel)).read()

    assert [each.identities for each in gate.nodes] == [None]


async def test_a_node_that_the_source_denies_gets_the_reason() -> None:
    other = certificates.issue(AUTHORITY, "other", now=NOW, lifetime=timedelta(hours=1))
    async with (
        serve(Gate(), listen="127.0.0.1:0", security=security()) as server,
        connect(server.port, other) as channel,
    ):
        assert await end(await begin(channel)) == "PERMISSION_DENIED: not you"


async def test_a_stream_ends_when_its_client_certificate_expires() -> None:
    async with (
        serve(Store(), listen="127.0.0.1:0", security=security(ends_in=0.3)) as server,
        connect(server.port) as channel,
    ):
        call = await begin(channel)
        assert await call.read() is not grpc.aio.EOF

        assert (
            await end(call)
            == "UNAUTHENTICATED: the client certificate has expired: reconnect with a new one"
        )


async def test_an_expired_certificate_is_a_warning_only_if_the_client_reconnects_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With certificates that last an hour, streams of a fleet end all the time."""
    left, gate = [0.3], Gate()
    secured = replace(security(), expires_at=lambda _: time.time() + left[0])
    async with (
        serve(gate, listen="127.0.0.1:0", security=secured) as server,
        connect(server.port) as channel,
    ):
        with caplog.at_level(logging.DEBUG, "scopeway.xds"):
            call = await begin(channel)
            await call.read()
            await end(call)
            renewing = [each for each in caplog.records if "has expired" in each.getMessage()]
            caplog.clear()
            left[0] = -1
            # on the same connection; it sends nothing, since the server may end it before that
            told = await end(channel.stream_stream(METHOD)())
            staying = [each for each in caplog.records if "has expired" in each.getMessage()]

    assert [each.levelname for each in renewing] == ["DEBUG"]
    assert [each.levelname for each in staying] == ["WARNING"]
    assert told == "UNAUTHENTICATED: the client certificate has expired: reconnect with a new one"
    assert len(gate.nodes) == 1  # nothing of the second one was read


async def test_a_client_that_is_not_trusted_any_more_loses_its_streams_and_gets_no_new_one() -> (
    None
):
    believed = [True]
    async with (
        serve(Store(), listen="127.0.0.1:0", security=security(believed=believed)) as server,
        connect(server.port) as channel,
    ):
        call = await begin(channel)
        await call.read()
        server.recheck()
        assert len(server.status()) == 1
        believed[0] = False
        server.recheck()
        told = "UNAUTHENTICATED: the client certificate is not trusted any more"

        assert await end(call) == told
        assert await end(await begin(channel)) == told  # on the same connection


async def closed(port: int, text: bytes) -> bool:
    """Send less than a handshake, and wait until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(text)
    try:
        async with asyncio.timeout(GUARD):
            return await reader.read(1) == b""
    except ConnectionError:
        return True
    finally:
        writer.close()


HELLO = bytes.fromhex("16030100c8010000c40303")
"""How a ClientHello begins."""


async def test_a_silent_connection_is_closed() -> None:
    limits = Limits(handshake_timeout=0.2)
    async with serve(Store(), listen="127.0.0.1:0", security=security(), limits=limits) as server:
        assert await asyncio.gather(*(closed(server.port, text) for text in (b"", HELLO)))


async def test_a_connection_over_the_limit_is_closed_and_the_others_continue() -> None:
    store, limits = Store(texts={(CLUSTER, "a"): "1"}), Limits(connections=2)
    async with (
        serve(store, listen="127.0.0.1:0", security=security(), limits=limits) as server,
        connect(server.port) as channel,
    ):
        call = await begin(channel)
        nonce = read_response(await call.read()).nonce
        _, silent = await asyncio.open_connection("127.0.0.1", server.port)

        assert await closed(server.port, b"")
        await call.write(write_request(CLUSTER, nonce=nonce, subscribe=["b"]))
        async with asyncio.timeout(GUARD):
            assert read_response(await call.read()).removed == ["b"]
        silent.close()


async def test_new_streams_are_counted_for_each_certificate_not_for_each_node() -> None:
    other = certificates.issue(AUTHORITY, "other", now=NOW, lifetime=timedelta(hours=1))
    limits = Limits(
        client_connects_per_second=1e-3, client_connects_burst=1, connect_wait=1, cpu_share=1
    )
    store = Store(texts={(CLUSTER, "a"): "1"})
    async with (
        serve(store, listen="127.0.0.1:0", security=security(), limits=limits) as server,
        connect(server.port) as channel,
        connect(server.port, other) as others,
    ):
        first = await begin(channel)
        assert read_response(await first.read()).texts == {"a": "1"}
        second = await begin(channel)
        assert (await end(second)).startswith("UNAVAILABLE: too many new streams")
        third = await begin(others)
        assert read_response(await third.read()).texts == {"a": "1"}


async def test_a_renewed_certificate_is_shown_to_the_next_connection() -> None:
    """The client trusts the second authority only."""
    other = certificates.make_authority("td", now=NOW, lifetime=timedelta(days=1))
    renewed = certificates.issue(
        other, None, addresses=["localhost"], now=NOW, lifetime=timedelta(hours=1)
    )
    shown = [CERTIFICATES]
    credentials = grpc.ssl_channel_credentials(other.pem, CLIENT.key, CLIENT.certificate)
    store = Store(texts={(CLUSTER, "a"): "1"})
    async with serve(
        store, listen="127.0.0.1:0", security=Security(certificates=lambda: shown[0])
    ) as server:
        shown[0] = Certificates(
            certificate=renewed.certificate, key=renewed.key, authorities=AUTHORITY.pem
        )
        async with grpc.aio.secure_channel(f"localhost:{server.port}", credentials) as channel:
            call = await begin(channel)

            assert read_response(await call.read()).texts == {"a": "1"}


async def test_certificates_that_cannot_be_read_leave_those_before_and_are_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers: list[Certificates | Exception] = [CERTIFICATES]

    def read() -> Certificates:
        if isinstance(answers[-1], Exception):
            raise answers[-1]
        return answers[-1]

    reload = ReloadedCertificates(read)
    answers.append(OSError("no such file"))

    assert [reload.fetch(), reload.fetch()] == [None, None]
    assert [record.message for record in caplog.records] == [
        "certificate reload failed, keeping the previous one: OSError: no such file"
    ]


@pytest.mark.parametrize("is_function", [False, True], ids=["given", "read"])
@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (
            replace(CERTIFICATES, key=CLIENT.key),
            ValueError,
            "security.certificates: gRPC cannot use them (its log says more): the key must belong "
            "to the certificate, and each must be complete PEM",
        ),
        (
            replace(CERTIFICATES, authorities=b""),
            ValueError,
            "Certificates.authorities is not PEM: it has no -----BEGIN line",
        ),
        (
            replace(CERTIFICATES, certificate="server.pem"),  # type: ignore[arg-type]
            TypeError,
            "Certificates.certificate must be bytes in PEM, not a str: pass what the file holds, "
            "such as Path(...).read_bytes()",
        ),
        (
            b"",
            TypeError,
            "security.certificates must be Certificates, or a function that returns them, not a "
            "bytes",
        ),
    ],
    ids=["key of another", "no authorities", "path", "no certificates"],
)
async def test_certificates_that_cannot_be_used_are_refused_at_the_start(
    wrong: Any, error: type[Exception], message: str, is_function: bool
) -> None:
    security = Security(certificates=(lambda: wrong) if is_function else wrong)
    with pytest.raises(error) as caught:
        async with serve(Store(), listen="127.0.0.1:0", security=security):
            pass

    assert str(caught.value) == message


async def test_a_renewed_key_of_another_certificate_leaves_those_before() -> None:
    """As when the files are read between the writing of one and of the other."""
    shown = [CERTIFICATES]
    async with serve(
        Store(texts={(CLUSTER, "a"): "1"}),
        listen="127.0.0.1:0",
        security=Security(certificates=lambda: shown[0]),
    ) as server:
        shown[0] = replace(CERTIFICATES, key=CLIENT.key)
        async with connect(server.port) as channel:
            call = await begin(channel)

            assert read_response(await call.read()).texts == {"a": "1"}


async def test_a_client_without_a_certificate_of_the_authorities_is_refused() -> None:
    other = certificates.make_authority("td", now=NOW, lifetime=timedelta(days=1))
    stranger = certificates.issue(other, "site", now=NOW, lifetime=timedelta(hours=1))
    none = grpc.ssl_channel_credentials(AUTHORITY.pem)
    async with serve(Store(), listen="127.0.0.1:0", security=security()) as server:
        for channel in (
            connect(server.port, stranger),
            grpc.aio.secure_channel(f"localhost:{server.port}", none),
        ):
            async with channel:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await channel.unary_unary("/any/method")(b"", timeout=GUARD)

                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_certificates_that_are_the_same_are_not_loaded_again() -> None:
    shown = [CERTIFICATES]
    reload = ReloadedCertificates(lambda: shown[0])
    assert reload.fetch() is None
    shown[0] = replace(CERTIFICATES, certificate=CLIENT.certificate, key=CLIENT.key)

    assert reload.fetch() is not None
    assert reload.fetch() is None
