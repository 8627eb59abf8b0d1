"""Sources that answer later: coroutines and PENDING, on delta and in the state of the world."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Any

import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment

from scopeway import xds
from scopeway.xds.encoding import protobuf
from scopeway.xds.lookup_tasks import LookupTasks
from xds_client import GUARD, Recorder, connect

pytestmark = pytest.mark.asyncio

BOTH = pytest.mark.parametrize("sotw", [False, True], ids=["delta", "sotw"])


class Database:
    """A source that looks its clusters up by a coroutine, each when the test lets it."""

    group = "all"

    def __init__(self, *members: str) -> None:
        self.notifier = xds.ChangeNotifier()
        self.members = list(members)
        self.asked: list[str] = []
        self.waiting: dict[str, asyncio.Future[Any]] = {}
        self.cancelled: list[str] = []
        self.begun = asyncio.Event()

    def type_urls(self) -> Collection[str]:
        return [xds.CLUSTER, xds.ENDPOINT]

    def attach(self, node: xds.Node) -> "Database":
        return self

    async def resource(self, type_url: str, name: str) -> xds.Found:
        self.asked.append(name)
        self.waiting[name] = asyncio.get_running_loop().create_future()
        self.begun.set()
        try:
            found: xds.Found = await self.waiting[name]
        except asyncio.CancelledError:
            self.cancelled.append(name)
            raise
        return found

    def wildcard(self, type_url: str) -> Collection[str]:
        return self.members

    def close(self) -> None:
        pass

    def answer(self, name: str, text: str = "") -> None:
        self.waiting[name].set_result(cluster(name, text))

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(GUARD):
            while not condition():
                self.begun.clear()
                await self.begun.wait()


class Now:
    """A source whose view is a function."""

    group = "all"

    def __init__(self, resource: Callable[[str, str], Any], *members: str) -> None:
        self.resource = resource
        self.members = members
        self.notifier = xds.ChangeNotifier()

    def type_urls(self) -> Collection[str]:
        return [xds.CLUSTER, xds.ENDPOINT]

    def attach(self, node: xds.Node) -> "Now":
        return self

    def wildcard(self, type_url: str) -> Collection[str]:
        return self.members

    def close(self) -> None:
        pass


def cluster(name: str, text: str = "") -> xds.Resource:
    """One that a model of a client can read as text."""
    body = protobuf.field_string(1, name) + protobuf.field_string(2, text)
    return xds.resource_from_bytes(xds.CLUSTER, name, body)


async def quick(type_url: str, name: str) -> xds.Found:
    """A lookup that takes a turn of the loop, and fails for some names."""
    await asyncio.sleep(0)
    if name.startswith("fails"):
        raise OSError("the database is away")
    return None if name.startswith("no") else cluster(name)


@BOTH
async def test_a_coroutine_may_look_a_resource_up(sotw: bool) -> None:
    async with xds.testing.Client(Now(quick), sotw=sotw) as client:
        received = await client.subscribe(xds.CLUSTER, "a", "none")

    assert set(client.resources(xds.CLUSTER)) == {"a"}
    assert [name for each in received for name in each.removed] == ([] if sotw else ["none"])


@BOTH
async def test_a_function_may_return_something_to_await(sotw: bool) -> None:
    def later(type_url: str, name: str) -> Awaitable[xds.Found]:
        return asyncio.ensure_future(quick(type_url, name))

    async with xds.testing.Client(Now(later), sotw=sotw) as client:
        await client.subscribe(xds.CLUSTER, "a")

    assert set(client.resources(xds.CLUSTER)) == {"a"}


@BOTH
async def test_a_new_wildcard_waits_until_something_of_it_is_known(sotw: bool) -> None:
    """An empty answer would let an Envoy start without its clusters."""
    async with xds.testing.Client(Now(quick, "a", "b"), sotw=sotw) as client:
        received = await client.subscribe(xds.CLUSTER)

    assert received[0].resources
    assert set(client.resources(xds.CLUSTER)) == {"a", "b"}


async def test_a_new_wildcard_of_which_nothing_exists_is_answered_when_that_is_known() -> None:
    async with xds.testing.Client(Now(quick, "none", "no other")) as client:
        (received,) = await client.subscribe(xds.CLUSTER)

    assert received.resources == {}


@BOTH
async def test_a_lookup_that_fails_costs_its_resource_only_and_is_told(sotw: bool) -> None:
    async with xds.testing.Client(Now(quick), sotw=sotw) as client:
        await client.subscribe(xds.CLUSTER, "a", "fails")
    (failed,) = [each for each in client.events if isinstance(each, xds.LookupFailed)]

    assert set(client.resources(xds.CLUSTER)) == {"a"}
    assert (failed.type_url, failed.name, str(failed.error)) == (
        xds.CLUSTER,
        "fails",
        "the database is away",
    )


@BOTH
async def test_what_is_pending_is_sent_when_the_notifier_tells_of_it(sotw: bool) -> None:
    known: dict[str, xds.Resource | None] = {"a": cluster("a")}
    source = Now(lambda _, name: known.get(name, xds.PENDING))
    async with xds.testing.Client(source, sotw=sotw) as client:
        await client.subscribe(xds.CLUSTER, "a", "b", "gone")
        assert set(client.resources(xds.CLUSTER)) == {"a"}
        assert [each for each in client.events if not isinstance(each, xds.Acked)] == []
        assert [name for each in client.received for name in each.removed] == []
        known |= {"b": cluster("b"), "gone": None}
        source.notifier.resources_changed(xds.CLUSTER, ["b", "gone"])
        received = await client.update()

    assert set(client.resources(xds.CLUSTER)) == {"a", "b"}
    assert [name for each in received for name in each.removed] == ([] if sotw else ["gone"])


@BOTH
async def test_a_resource_that_becomes_pending_is_kept(sotw: bool) -> None:
    found: list[xds.Found] = [cluster("a")]
    source = Now(lambda _, name: found[0], "a")
    async with xds.testing.Client(source, sotw=sotw) as client:
        await client.subscribe(xds.CLUSTER)
        found[0] = xds.PENDING
        source.notifier.resources_changed(xds.CLUSTER, ["a"])

        assert await client.update() == []
    assert set(client.resources(xds.CLUSTER)) == {"a"}


@BOTH
async def test_a_coroutine_may_answer_pending(sotw: bool) -> None:
    known: dict[str, xds.Resource] = {}

    async def find(type_url: str, name: str) -> xds.Found:
        return known.get(name, xds.PENDING)

    source = Now(find)
    async with xds.testing.Client(source, sotw=sotw) as client:
        assert await client.subscribe(xds.CLUSTER, "a") == []
        known["a"] = cluster("a")
        source.notifier.resources_changed(xds.CLUSTER, ["a"])
        await client.update()

    assert set(client.resources(xds.CLUSTER)) == {"a"}


@BOTH
async def test_a_wildcard_may_be_pending_while_a_name_is_known(sotw: bool) -> None:
    """In state of the world, a state without what the wildcard means would remove that."""
    members: list[Any] = [xds.PENDING]
    source = Now(lambda _, name: cluster(name))
    source.wildcard = lambda type_url: members[0]  # type: ignore[method-assign, assignment]
    async with xds.testing.Client(source, sotw=sotw) as client:
        assert await client.subscribe(xds.CLUSTER) == []
        await client.subscribe(xds.CLUSTER, "a")
        assert set(client.resources(xds.CLUSTER)) == (set() if sotw else {"a"})
        members[0] = ["b"]
        source.notifier.wildcard_changed(xds.CLUSTER, "all")
        await client.update()

    assert set(client.resources(xds.CLUSTER)) == {"a", "b"}


@pytest.mark.parametrize("names", [(), ("a", "b")], ids=["wildcard", "names"])
async def test_a_full_state_is_not_sent_to_a_returning_client_before_all_of_it_is_known(
    names: tuple[str, ...],
) -> None:
    """The client has a state from before. One that lacks resources would remove them."""
    known = {"a": cluster("a"), "b": cluster("b")}
    source = Now(lambda type_url, name: known.get(name, xds.PENDING), "a", "b")
    async with xds.testing.Client(source, sotw=True) as client:
        (before,) = await client.subscribe(xds.CLUSTER, *names)
    b = known.pop("b")

    session = xds.SotwSession(source)
    request = xds.SotwRequest(
        type_url=xds.CLUSTER,
        version_info=before.version_info,
        names=names,
        names_empty=not names,
        node=xds.Node(id="a", cluster=""),
    )
    session.receive(request, 0.0)
    while_pending = session.responses_to_send(0.0)
    known["b"] = b
    session.resources_changed(xds.CLUSTER, ["b"])
    then = session.responses_to_send(0.0)
    known["a"] = cluster("a", "new")
    session.resources_changed(xds.CLUSTER, ["a"])
    then += session.responses_to_send(0.0)

    assert while_pending == []
    assert [each.resources for each in then] == [2]


@pytest.mark.parametrize("names", [(), ("a", "b")], ids=["wildcard", "names"])
async def test_a_full_state_with_failed_lookups_is_not_sent_to_a_returning_client(
    names: tuple[str, ...],
) -> None:
    """It may have what the source, for example without its database, fails to look up."""

    def fails(type_url: str, name: str) -> xds.Found:
        raise OSError("the database is away")

    source = Now(lambda type_url, name: cluster(name), "a", "b")
    async with xds.testing.Client(source, sotw=True) as client:
        (before,) = await client.subscribe(xds.CLUSTER, *names)
    source.resource = fails

    session = xds.SotwSession(source)
    request = xds.SotwRequest(
        type_url=xds.CLUSTER,
        version_info=before.version_info,
        names=names,
        names_empty=not names,
        node=xds.Node(id="a", cluster=""),
    )
    session.receive(request, 0.0)
    while_failing = session.responses_to_send(0.0)
    source.resource = lambda type_url, name: cluster(name, "new")
    then = session.responses_to_send(2.0)

    assert while_failing == []
    assert [each.resources for each in then] == [2]


@BOTH
async def test_what_the_client_has_is_looked_up_anew_at_the_same_time(sotw: bool) -> None:
    source = Database("a", "b")
    async with xds.testing.Client(source, sotw=sotw) as client:
        task = asyncio.create_task(client.subscribe(xds.CLUSTER))
        await source.until(lambda: len(source.asked) == 2)
        source.answer("a")
        source.answer("b")
        await task
        source.asked.clear()
        source.notifier.everything_changed()
        again = asyncio.create_task(client.update())

        await source.until(lambda: sorted(source.asked) == ["a", "b"])
        source.answer("a", "new")
        source.answer("b", "new")
        (received,) = await again

    assert set(received.resources) == {"a", "b"}


async def test_a_full_state_does_not_wait_for_what_has_left_the_wildcard() -> None:
    source = Now(lambda type_url, name: xds.PENDING, "a")
    async with xds.testing.Client(source, sotw=True) as client:
        while_pending = await client.subscribe(xds.CLUSTER)
        source.members = ()
        source.notifier.wildcard_changed(xds.CLUSTER, "all")
        then = await client.update()

    assert while_pending == []
    assert [each.resources for each in then] == [{}]


async def test_a_lookup_for_a_full_state_ends_when_its_name_leaves_the_wildcard() -> None:
    source = Database("a")
    async with xds.testing.Client(source, sotw=True) as client:
        task = asyncio.create_task(client.subscribe(xds.CLUSTER))
        await source.until(lambda: source.asked == ["a"])
        source.members = []
        source.notifier.wildcard_changed(xds.CLUSTER, "all")
        again = asyncio.create_task(client.update())
        await asyncio.wait([task, again], timeout=GUARD)

        assert source.cancelled == ["a"]


async def test_no_cluster_is_removed_while_what_is_to_replace_a_resource_is_looked_up() -> None:
    """Make before break: the client's endpoints may still be those of the cluster that goes."""
    members = ["old"]
    endpoints = xds.resource_from_message(ClusterLoadAssignment(cluster_name="e"))
    found: dict[str, Any] = {xds.CLUSTER: cluster("old"), xds.ENDPOINT: endpoints}
    source = Now(lambda type_url, _: found[type_url])
    source.members = members  # type: ignore[assignment]
    async with xds.testing.Client(source) as client:
        await client.subscribe(xds.CLUSTER)
        await client.subscribe(xds.ENDPOINT, "e")
        members.clear()
        found[xds.ENDPOINT] = xds.PENDING
        source.notifier.wildcard_changed(xds.CLUSTER, "all")
        source.notifier.resources_changed(xds.ENDPOINT, ["e"])
        assert await client.update() == []
        found[xds.ENDPOINT] = endpoints
        source.notifier.resources_changed(xds.ENDPOINT, ["e"])
        (received,) = await client.update()

    assert received.removed == ("old",)


@BOTH
async def test_a_resource_without_ttl_is_what_a_client_is_sent_that_knows_none(sotw: bool) -> None:
    def at_once(type_url: str, name: str) -> xds.Found:
        return xds.resource_from_message(Cluster(name=name), ttl=5)

    async def later(type_url: str, name: str) -> xds.Found:
        return at_once(type_url, name)

    variant = xds.SotwSession if sotw else xds.DeltaSession
    session, expected = variant(Now(later)), variant(Now(at_once))
    node = xds.Node(id="n", cluster="")
    request: Any = (
        xds.SotwRequest(type_url=xds.CLUSTER, names=("a",), names_empty=False, node=node)
        if sotw
        else xds.DeltaRequest(type_url=xds.CLUSTER, subscribe=("a",), names_empty=False, node=node)
    )
    for each in (session, expected):
        each.receive(request, 0.0)
    session.responses_to_send(0.0)
    (lookup,) = session.new_lookups()
    session.lookup_finished(lookup, await lookup.answer)

    (sent,), (same,) = session.responses_to_send(0.0), expected.responses_to_send(0.0)
    assert sent.data == same.data
    session.close()


async def test_a_lookup_that_nobody_awaits_leaves_no_warning() -> None:
    async def with_ttl(type_url: str, name: str) -> xds.Found:
        raise AssertionError("it is never awaited")

    session = xds.DeltaSession(Now(with_ttl))
    request = xds.DeltaRequest(
        type_url=xds.CLUSTER,
        subscribe=("a",),
        names_empty=False,
        node=xds.Node(id="n", cluster=""),
    )
    session.receive(request, 0.0)

    assert session.responses_to_send(0.0) == []
    session.close()


# over gRPC: what runs at the same time


async def test_lookups_of_one_request_run_at_the_same_time() -> None:
    source = Database()
    async with xds.serve(source, listen="127.0.0.1:0") as server, connect(server) as client:
        await client.send(subscribe=["a", "b"])
        await source.until(lambda: len(source.asked) == 2)
        source.answer("b")
        assert set((await client.take()).texts) == {"b"}
        source.answer("a")

        assert set((await client.take()).texts) == {"a"}


async def test_a_stream_has_so_many_lookups_at_a_time() -> None:
    source = Database()
    limits = xds.Limits(lookups=2)
    async with (
        xds.serve(source, listen="127.0.0.1:0", limits=limits) as server,
        connect(server) as client,
    ):
        await client.send(subscribe=["a", "b", "c", "d"])
        await source.until(lambda: len(source.asked) == 2)
        source.answer("a")
        await client.take()
        await source.until(lambda: len(source.asked) == 3)

        assert source.asked == ["a", "b", "c"]


async def test_a_lookup_is_cancelled_when_the_client_wants_the_name_no_more() -> None:
    source = Database()
    async with xds.serve(source, listen="127.0.0.1:0") as server, connect(server) as client:
        await client.send(subscribe=["a", "b"])
        await source.until(lambda: len(source.asked) == 2)
        await client.send(unsubscribe=["a"])
        await client.send(subscribe=["c"])
        await source.until(lambda: len(source.asked) == 3)
        assert source.cancelled == ["a"]
        source.answer("b")

        assert set((await client.take()).texts) == {"b"}


async def test_lookups_are_cancelled_when_the_client_leaves() -> None:
    source, recorder = Database(), Recorder()
    async with xds.serve(source, listen="127.0.0.1:0", observer=recorder) as server:
        async with connect(server) as client:
            await client.send(subscribe=["a"])
            await source.until(lambda: source.asked == ["a"])
        await recorder.seen(xds.StreamClosed)
        await asyncio.sleep(0)

        assert source.cancelled == ["a"]


async def test_what_is_asked_for_again_is_looked_up_again() -> None:
    """An Envoy asks again for a cluster that was not there when a request needs it again."""
    known: dict[str, xds.Resource] = {}

    async def resource(type_url: str, name: str) -> xds.Found:
        return known.get(name)

    async with xds.testing.Client(Now(resource)) as client:
        (first,) = await client.subscribe(xds.CLUSTER, "a")
        known["a"] = cluster("a")
        (second,) = await client.subscribe(xds.CLUSTER, "a")

    assert first.removed == ("a",)
    assert set(second.resources) == {"a"}


async def test_what_is_asked_for_again_while_it_is_looked_up_is_looked_up_once() -> None:
    source = Database()
    async with xds.testing.Client(source) as client:
        tasks = [asyncio.create_task(client.subscribe(xds.CLUSTER, "a")) for _ in range(2)]
        await source.until(lambda: source.asked == ["a"])
        source.answer("a")
        await asyncio.wait(tasks, timeout=GUARD)

    assert source.asked == ["a"]
    assert set(client.resources(xds.CLUSTER)) == {"a"}


async def test_a_lookup_whose_own_await_is_cancelled_is_a_failed_lookup() -> None:
    """As when a pool of connections closes. It isn't waited for without end."""

    async def resource(type_url: str, name: str) -> xds.Found:
        raise asyncio.CancelledError

    async with xds.testing.Client(Now(resource)) as client:
        await client.subscribe(xds.CLUSTER, "a")
    (failed,) = [each for each in client.events if isinstance(each, xds.LookupFailed)]

    assert str(failed.error) == "what the lookup waits for was cancelled"


@pytest.mark.parametrize("user_agent", ["envoy/1.40.0", "other/1"])
async def test_a_future_that_two_streams_await_survives_one_of_them(user_agent: str) -> None:
    """A source may keep one task for a name and return it to all."""
    shared: asyncio.Future[xds.Found] = asyncio.get_running_loop().create_future()
    source = Now(lambda type_url, name: shared)
    node = xds.Node(id="a", cluster="", user_agent=user_agent)
    leaving = xds.DeltaSession(source)
    leaving.receive(xds.DeltaRequest(type_url=xds.CLUSTER, subscribe=("a",), node=node), 0.0)
    tasks = LookupTasks(100, leaving.lookup_finished)

    leaving.responses_to_send(0.0)
    tasks.start(leaving.new_lookups())
    await asyncio.sleep(0)
    leaving.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert not shared.cancelled()


async def test_lookups_that_wait_for_their_turn_leave_with_their_names() -> None:
    """A client that comes and goes with names does not fill the memory."""
    source = Database()
    session = xds.DeltaSession(source)
    tasks = LookupTasks(1, session.lookup_finished)
    node = xds.Node(id="a", cluster="")
    ask = partial(xds.DeltaRequest, type_url=xds.CLUSTER, names_empty=False)
    first, come = ask(subscribe=("first",), node=node), ask(subscribe=("a", "b"))
    go = ask(unsubscribe=("a", "b"))

    for request in (first, come, go, come):
        session.receive(request, 0.0)
        session.responses_to_send(0.0)
        tasks.start(session.new_lookups())
        await asyncio.sleep(0)

    assert tasks.waiting == 2
    session.close()
    tasks.close()


async def test_what_changes_while_it_is_looked_up_is_looked_up_again() -> None:
    source = Database()
    async with xds.serve(source, listen="127.0.0.1:0") as server, connect(server) as client:
        await client.send(subscribe=["a"])
        await source.until(lambda: source.asked == ["a"])
        source.notifier.resources_changed(xds.CLUSTER, ["a"])
        source.answer("a", "outdated")
        await source.until(lambda: source.asked == ["a", "a"])
        source.answer("a", "new")
        received = await client.take()

        assert received.versions == {"a": cluster("a", "new").version}


async def test_a_failed_lookup_is_logged_with_type_name_and_node(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source, recorder = Database(), Recorder()
    async with (
        xds.serve(source, listen="127.0.0.1:0", observer=recorder) as server,
        connect(server) as client,
    ):
        await client.send(subscribe=["a"])
        await source.until(lambda: source.asked == ["a"])
        source.waiting["a"].set_exception(OSError("the database is away"))
        (failed,) = await recorder.seen(xds.LookupFailed)

    # a busy machine may add that a call took long
    lines = [each.message for each in caplog.records if "lookup failed" in each.message]
    assert lines == [
        f"resource lookup failed, will retry in {failed.retry_after:.2g} s: type {xds.CLUSTER}, "
        f"resource a, node site/1: OSError: the database is away"
    ]
