"""Mistakes in the use of the library: each has an error where it is made, with value and place."""

import asyncio
import gc
import logging
import socket
import time
from collections.abc import Collection
from typing import Any, cast

import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.listener.v3 import Listener

from scopeway import xds
from xds_client import Recorder, connect

pytestmark = pytest.mark.asyncio

CLUSTER_URL = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
A = xds.resource_from_message(Cluster(name="a"))


class Source:
    """A source of one answer for each of its calls."""

    group = "all"

    def __init__(self, **answers: Any) -> None:
        self.answers = {"attach": self, "wildcard": [], "resource": A, **answers}
        self.blocks: str = ""

    def type_urls(self) -> Collection[str]:
        return [xds.CLUSTER]

    def attach(self, node: xds.Node) -> Any:
        return self.call("attach")

    def resource(self, type_url: str, name: str) -> Any:
        return self.call("resource")

    def wildcard(self, type_url: str) -> Any:
        return self.call("wildcard")

    def close(self) -> None:
        pass

    def call(self, name: str) -> Any:
        if self.blocks == name:
            time.sleep(0.11)  # what this is about: it blocks the event loop
        return self.answers[name]


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (
            xds.resource_from_message(Cluster(name="b")),
            ValueError,
            f"NodeView.resource({CLUSTER_URL!r}, 'a') returned another resource, 'b' of "
            f"{CLUSTER_URL!r}",
        ),
        (
            xds.resource_from_message(Listener(name="a")),
            ValueError,
            f"NodeView.resource({CLUSTER_URL!r}, 'a') returned another resource, 'a' of "
            f"'type.googleapis.com/envoy.config.listener.v3.Listener'",
        ),
        (
            {"name": "a"},
            TypeError,
            f"NodeView.resource({CLUSTER_URL!r}, 'a') returned a dict, not a Resource, None or "
            "PENDING",
        ),
        (
            Cluster(name="a"),
            TypeError,
            f"NodeView.resource({CLUSTER_URL!r}, 'a') returned a Cluster, not a Resource, None or "
            "PENDING",
        ),
    ],
    ids=["name", "type", "dict", "message"],
)
@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
async def test_a_resource_that_is_not_what_was_asked_for_is_a_failed_lookup(
    answer: Any, error: type[Exception], message: str, later: bool
) -> None:
    found = asyncio.get_running_loop().create_future()
    found.set_result(answer)
    async with xds.testing.Client(Source(resource=found if later else answer)) as client:
        assert await client.subscribe(xds.CLUSTER, "a") == []
    (failed,) = client.events

    assert isinstance(failed, xds.LookupFailed)
    assert (type(failed.error), str(failed.error)) == (error, message)


async def test_a_coroutine_of_a_coroutine_is_a_failed_lookup() -> None:
    async def inner() -> xds.Resource:
        raise AssertionError("nobody awaits it")

    async def outer() -> Any:
        return inner()

    source = Source(resource=outer())
    async with xds.testing.Client(source) as client:
        await client.subscribe(xds.CLUSTER, "a")
    (failed,) = client.events

    assert isinstance(failed, xds.LookupFailed)
    assert str(failed.error) == (
        f"NodeView.resource({CLUSTER_URL!r}, 'a') returned a coroutine, not a Resource, None or "
        "PENDING"
    )


async def test_an_attach_that_returns_none_is_an_error_of_the_stream() -> None:
    async with xds.testing.Client(Source(attach=None), node_id="edge-1") as client:
        with pytest.raises(TypeError) as caught:
            await client.subscribe(xds.CLUSTER)

    assert str(caught.value) == (
        "Source.attach('edge-1') returned None, not a NodeView: it has no resource, no wildcard, "
        "no close"
    )


async def test_an_attach_that_is_a_coroutine_is_an_error_of_the_stream() -> None:
    class Async(Source):
        async def attach(self, node: xds.Node) -> Any:
            return self

    async with xds.testing.Client(cast(Any, Async()), node_id="edge-1") as client:
        with pytest.raises(TypeError) as caught:
            await client.subscribe(xds.CLUSTER)

    assert str(caught.value) == (
        "Async.attach('edge-1') returned a coroutine, not a NodeView: it has no resource, no "
        "wildcard"
    )


async def test_a_wildcard_that_is_a_string_is_an_error_of_the_stream() -> None:
    async with xds.testing.Client(Source(wildcard="ab")) as client:
        with pytest.raises(TypeError) as caught:
            await client.subscribe(xds.CLUSTER)

    assert str(caught.value) == (
        f"what NodeView.wildcard({CLUSTER_URL!r}) returns must be a collection of names, not the "
        "string 'ab': pass ['ab']"
    )


async def test_a_wildcard_that_is_a_coroutine_is_an_error_of_the_stream(
    recwarn: pytest.WarningsRecorder,
) -> None:
    class Later(Source):
        async def wildcard(self, type_url: str) -> Any:  # type: ignore[override]
            return []

    async with xds.testing.Client(Later()) as client:
        with pytest.raises(TypeError) as caught:
            await client.subscribe(xds.CLUSTER)

    assert str(caught.value) == (
        f"what NodeView.wildcard({CLUSTER_URL!r}) returns must be a collection of names, not a "
        f"coroutine"
    )
    del caught
    gc.collect()
    assert [str(each.message) for each in recwarn] == []


async def test_a_string_for_a_list_of_names_is_refused() -> None:
    with pytest.raises(TypeError) as caught:
        xds.ChangeNotifier().resources_changed(xds.CLUSTER, "abc")

    assert str(caught.value) == (
        "names must be a collection of names, not the string 'abc': pass ['abc']"
    )


async def test_a_number_for_a_list_of_names_is_refused() -> None:
    with pytest.raises(TypeError) as caught:
        xds.ChangeNotifier().resources_changed(xds.CLUSTER, 1)  # type: ignore[arg-type]

    assert str(caught.value) == "names must be a collection of names, not an int"


async def test_a_change_of_a_type_that_is_not_served_is_refused() -> None:
    async with xds.serve(Source(), listen="127.0.0.1:0") as server:
        for tell in (
            lambda: server.notifier.resources_changed("Cluster", ["a"]),
            lambda: server.notifier.wildcard_changed("Cluster", "all"),
        ):
            with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole message is compared
                tell()

            assert str(caught.value) == (
                "a change of 'Cluster', which is none of the types that the source serves "
                f"(Source.type_urls): {CLUSTER_URL}"
            )


async def test_a_change_for_a_group_without_streams_is_no_mistake() -> None:
    """Its nodes may come later."""
    async with xds.serve(Source(), listen="127.0.0.1:0") as server:
        server.notifier.resources_changed(xds.CLUSTER, ["a"], group="nobody yet")
        server.notifier.wildcard_changed(xds.CLUSTER, "nobody yet")
        server.notifier.everything_changed("nobody yet")

        assert len(server.notifier) == 0


@pytest.mark.parametrize(
    "listen", ["127.0.0.1", "", "localhost:", "::1", "[::1]", "localhost:http", "host:-1"]
)
async def test_an_address_without_a_port_is_refused(listen: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole message is compared
        async with xds.serve(Source(), listen=listen):
            pass

    assert str(caught.value) == (
        f"listen={listen!r} names no port: write host:port, such as '127.0.0.1:18000' or "
        "'[::1]:18000' (port 0 takes a free one), or 'unix:path'"
    )


async def test_an_address_that_is_no_string_is_refused() -> None:
    with pytest.raises(TypeError) as caught:
        async with xds.serve(Source(), listen=18000):  # type: ignore[arg-type]
            pass

    assert str(caught.value) == "listen must be a string such as '127.0.0.1:0', not an int"


async def test_a_port_that_does_not_exist_is_refused() -> None:
    """gRPC would listen on port 34463."""
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole message is compared
        async with xds.serve(Source(), listen="127.0.0.1:99999"):
            pass

    assert str(caught.value) == "listen='127.0.0.1:99999': a port is at most 65535"


@pytest.mark.parametrize("turns", range(5))
async def test_a_server_whose_start_is_cancelled_leaves_its_port(turns: int) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = f"127.0.0.1:{free.getsockname()[1]}"

    async def run() -> None:
        async with xds.serve(Source(), listen=listen):
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    async with xds.serve(Source(), listen=listen) as server:
        assert listen.endswith(f":{server.port}")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (None, "None is no Source: it has no type_urls, no attach"),
        (Source, "the class Source is no Source: it is a class, not an object of it"),
        ([A], "a list is no Source: it has no type_urls, no attach"),
    ],
)
async def test_what_is_no_source_is_refused(source: Any, message: str) -> None:
    with pytest.raises(TypeError) as caught:
        async with xds.serve(source, listen="127.0.0.1:0"):
            pass

    assert str(caught.value) == message


async def test_a_string_of_type_urls_is_refused() -> None:
    class Types(Source):
        def type_urls(self) -> Any:
            return xds.CLUSTER

    with pytest.raises(TypeError) as caught:
        async with xds.serve(Types(), listen="127.0.0.1:0"):
            pass

    assert str(caught.value) == (
        f"what Types.type_urls() returns must be a collection of names, not the string "
        f"{CLUSTER_URL!r}: pass [{CLUSTER_URL!r}]"
    )


async def test_a_second_notifier_for_a_source_that_has_one_is_refused() -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole message is compared
        async with xds.serve(
            xds.SnapshotCache(), listen="127.0.0.1:0", notifier=xds.ChangeNotifier()
        ):
            pass

    assert str(caught.value) == (
        "a SnapshotCache tells its changes to a notifier of its own (source.notifier): leave out "
        "notifier=..., or pass that one"
    )


@pytest.mark.parametrize(
    ("blocks", "what"),
    [
        ("attach", "type -, resource -"),
        ("resource", f"type {CLUSTER_URL}, resource a"),
        ("wildcard", f"type {CLUSTER_URL}, resource *"),
    ],
)
async def test_a_source_that_blocks_the_loop_is_warned_of(
    blocks: str, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    source, recorder = Source(wildcard=["a"]), Recorder()
    source.blocks = blocks
    async with (
        xds.serve(source, listen="127.0.0.1:0", observer=recorder) as server,
        connect(server, "edge/1") as client,
    ):
        await client.send()
        (event,) = await recorder.seen(xds.SourceBlocked)
    (record,) = [each for each in caplog.records if each.levelno == logging.WARNING]

    assert event.call == blocks
    assert record.message == (
        f"source blocked the event loop for {event.seconds:.3f} s in {blocks}: node edge/1, "
        f"{what}; make it answer later (async def)"
    )
