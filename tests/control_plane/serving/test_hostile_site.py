"""How much time the Envoys of a hostile site cost the others at the control plane."""

import asyncio
import gc
from time import thread_time

import pytest

from event_loop_turns import Turns
from harness.source import Fleet, cloud
from harness.source import Recorder as Told
from harness.source import node as made
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import (
    AcceptRule,
    CallerLimits,
    Cloud,
    CloudPattern,
    Front,
    IdentityRule,
    Peer,
)
from scopeway.control_plane.planner.planner import PlanSettings
from scopeway.control_plane.runtime import app
from scopeway.control_plane.runtime.time_slices import BackgroundQueue
from scopeway.control_plane.scope import SERVICE_TYPES
from scopeway.control_plane.serving.limits import SourceLimits
from scopeway.control_plane.serving.source import ScopewaySource
from scopeway.control_plane.translator.site_resources import each_site_resource, preload
from scopeway.xds.encoding.messages import DeltaRequest, decode_delta_request
from scopeway.xds.encoding.protobuf import field_bytes, field_string
from scopeway.xds.events import Throttled
from scopeway.xds.grpc_server.server import serve
from scopeway.xds.protocol.session import DeltaSession
from scopeway.xds.steps import Steps
from scopeway.xds.type_urls import CLUSTER, EXTENSION, ROUTE
from xds_client import GUARD, Client, Recorder, connect
from xds_model import write_request

SLOW = [
    f"image@{'(' * 31}{'&'.join(f'c{each}z{label}' for label in range(31))}{')' * 31}"
    for each in range(100)
]
"""Names that take the control plane a millisecond or more each: deep, and with many words."""


def node(site: str) -> bytes:
    protocol = field_string(1, "scopeway.protocol") + field_bytes(2, field_string(3, "1"))
    metadata = field_bytes(3, field_bytes(1, protocol))
    return field_string(1, f"{site}/envoy") + field_string(2, site) + metadata


async def ask(client: Client, site: str, names: list[str]) -> None:
    await client.call.write(write_request(CLUSTER, node=node(site), subscribe=names))


async def answer(client: Client) -> bytes:
    async with asyncio.timeout(GUARD):
        data: bytes = await client.call.read()
    return data


def fleet(limits: SourceLimits | None = None) -> Fleet:
    return Fleet(*(cloud(f"cloud-{each}") for each in range(1, 4)), limits=limits)


def test_slow_names_of_one_site_do_not_delay_other_sites() -> None:
    """Neither while the site asks for them nor when its stream has ended."""
    turns = Turns()

    async def go() -> list[str]:
        order: list[str] = []
        async with (
            serve(fleet().source, listen="127.0.0.1:0", limits=app.xds_limits()) as server,
            connect(server) as hostile,
            connect(server) as honest,
        ):

            async def first_use() -> None:
                await ask(honest, "cloud-2", ["image@cloud-3"])
                assert await answer(honest)
                order.append("honest")

            async def attack() -> None:
                await ask(hostile, "cloud-1", SLOW)
                asyncio.get_running_loop().call_later(0.02, asyncio.ensure_future, first_use())
                await answer(hostile)
                order.append("hostile")

            with turns.watched():
                await attack()
                hostile.call.cancel()
                await asyncio.sleep(0.1)
        return order

    assert asyncio.run(go()) == ["honest", "hostile"]
    assert turns.longest < 0.05, "of some hundred milliseconds of work"


def test_a_site_without_budget_waits_and_other_sites_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(app, "CPU_SHARE", 0.01)
    monkeypatch.setattr(app, "CPU_BURST", 0.01)

    async def go() -> bool:
        recorder = Recorder()
        limits = app.xds_limits()
        async with (
            serve(fleet().source, listen="127.0.0.1:0", limits=limits, observer=recorder) as server,
            connect(server) as hostile,
            connect(server) as honest,
        ):
            await ask(hostile, "cloud-1", SLOW)
            await recorder.seen(Throttled)
            await ask(honest, "cloud-2", ["image@cloud-3"])
            await answer(honest)
            late = asyncio.create_task(answer(hostile))
            await asyncio.sleep(0.05)
            waits = not late.done()
            late.cancel()
            return waits

    assert asyncio.run(go())


def test_names_that_were_slow_to_parse_are_forgotten_without_parsing_them_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = fleet().source
    view = source.attach(made("cloud-1"))
    other = source.attach(made("cloud-1"))
    names = [name.replace("&", "|") for name in SLOW]
    for name in names:
        view.resource(CLUSTER, name)
    assert source.stats().targets == len(names)

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is read again")

    monkeypatch.setattr("scopeway.control_plane.serving.target_index.parse_target", refuse)
    monkeypatch.setattr(source._clusters, "_parse", refuse)
    view.close()
    assert source.stats().targets == 0
    other.close()


def test_clouds_and_labels_of_the_targets_of_a_site_are_limited() -> None:
    """Over all its streams. Targets in use keep working, and so do other sites."""
    source = fleet(limits=SourceLimits(atoms_per_cloud=5)).source
    views = [source.attach(made("cloud-1")) for _ in range(2)]
    other = source.attach(made("cloud-2"))

    assert views[0].resource(CLUSTER, "image@cloud-1|cloud-2|cloud-3") is not None
    assert views[1].resource(CLUSTER, "image@cloud-2|cloud-3") is not None
    assert views[1].resource(CLUSTER, "image@cloud-3") is None
    assert views[1].resource(CLUSTER, "image@cloud-1|cloud-2|cloud-3") is not None
    assert other.resource(CLUSTER, "image@cloud-3") is not None
    views[0].close()
    views[1].close()


class TestBackgroundQueue:
    """Work in the background."""

    @staticmethod
    def work(log: list[str], name: str, steps: int) -> Steps[None]:
        for _ in range(steps):
            log.append(name)
            yield

    def test_small_work_is_done_at_once(self) -> None:
        log: list[str] = []
        BackgroundQueue().add(self.work(log, "a", 3))
        assert log == ["a"] * 3

    def test_large_work_is_done_in_slices_and_in_order(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("scopeway.control_plane.runtime.time_slices.BACKGROUND_SLICE", -1.0)
        log: list[str] = []

        async def go() -> None:
            queue = BackgroundQueue()
            queue.add(self.work(log, "a", 3))
            queue.add(self.work(log, "b", 2))
            for _ in range(10):
                log.append("others")
                await asyncio.sleep(0)

        asyncio.run(go())
        assert [each for each in log if each != "others"] == list("aaabb")
        assert log.index("others") == 1
        assert log[-1] == "others"

    def test_failed_work_is_logged_and_the_rest_is_done(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def failing() -> Steps[None]:
            yield
            raise ZeroDivisionError

        log: list[str] = []
        queue = BackgroundQueue()
        queue.add(failing())
        queue.add(self.work(log, "a", 1))
        assert log == ["a"]
        assert len(caplog.records) == 1


def test_notifications_of_many_targets_are_sent_in_slices() -> None:
    """A change of a cloud that 1,000 targets of one site name."""
    started = fleet()
    view = started.source.attach(made("cloud-1"))
    for number in range(1000):
        view.resource(CLUSTER, f"image@cloud-3|c{number}")
    changed = cloud("cloud-3", a="b")
    inventory = started.inventory.apply({changed.name: changed})
    told = []
    for _ in started.source.steps(inventory, [changed.name]):
        told.append(sum(len(names) for _, names, _ in started.notifier.told) - sum(told))

    assert sum(told) == 1000
    assert max(told) <= 256


def test_no_step_of_a_stream_computes_a_whole_policy() -> None:
    """8,000 names in 250 rules, which with four labels are too many rights."""
    names = [f"c-{number}" for number in range(8000)]
    rules = [
        AcceptRule(clouds=tuple(CloudPattern(name=name) for name in names[start : start + 32]))
        for start in range(0, len(names), 32)
    ]
    limits = CallerLimits(requests_at_once=20)
    rules += [
        AcceptRule(clouds=(CloudPattern(labels={"region": f"r{number}"}),), limits=limits)
        for number in range(4)
    ]
    clouds = [cloud(name, region=f"r{index % 7}", host=name) for index, name in enumerate(names)]
    hostile = Cloud(name="cloud-1", peer=Peer(address="127.0.0.1", port=1), accept=tuple(rules))
    preload()
    session = DeltaSession(Fleet(hostile, *clouds).source)
    session.receive(decode_delta_request(write_request(ROUTE, node=node("cloud-1"))), 0)
    session.receive(decode_delta_request(write_request(ROUTE, subscribe=["peer"])), 0)
    times = cpu_of_each(session.response_steps(0))

    assert len(times) > 300
    assert max(times) < sum(times) / 5


def cpu_of_each(steps: Steps[object]) -> list[float]:
    """Return the seconds of CPU of each step, without collections of garbage."""
    times, begin = [], thread_time()
    gc.disable()
    try:
        for _ in steps:
            times.append(thread_time() - begin)
            begin = thread_time()
    finally:
        gc.enable()
    return [*times, thread_time() - begin]


def largest(port: int) -> Cloud:
    """A site with as many listeners, each with as much Lua, as may be."""
    kept = tuple(CloudPattern(name=f"{'k' * 50}-{number}") for number in range(2048))
    rule = AcceptRule(clouds=kept, identity=IdentityRule(clouds=kept, ids="kept"))
    ports = {service: 1000 + number for number, service in enumerate(SERVICE_TYPES)}
    front = Front(address="127.0.0.1", port=port, ports=ports)
    return Cloud(name="cloud-1", front=front, accept=(rule,))


def test_no_step_computes_all_resources_of_the_largest_site() -> None:
    """Neither when a stream opens nor when the entry changes; the Envoys have different logs."""
    preload()
    inventory = Inventory().apply({"cloud-1": largest(1)})
    source = ScopewaySource(
        inventory=inventory,
        notifier=Told(),
        make_site=lambda cloud, setup, _: each_site_resource(cloud, setup),
        settings=PlanSettings(),
    )
    sessions = [DeltaSession(source) for _ in range(4)]
    for number, session in enumerate(sessions):
        claim = made("cloud-1", access_log=f"/{number}")
        request = DeltaRequest(type_url=EXTENSION, node=claim, subscribe=("lua/front",))
        times = cpu_of_each(session.receive_steps(request, 0))
        assert max(times) < sum(times) / 5

    changed = inventory.apply({"cloud-1": largest(2)})
    times = cpu_of_each(source.steps(changed, ["cloud-1"]))
    assert max(times) < sum(times) / 10
    times = cpu_of_each(sessions[0].response_steps(0))  # all that is kept of it is another Envoy's
    assert max(times) < sum(times) / 5
