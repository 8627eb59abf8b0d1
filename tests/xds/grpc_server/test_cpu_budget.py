"""Slices of the event loop, and budgets of CPU time."""

import asyncio
from time import thread_time
from typing import Any

import pytest

from event_loop_turns import Turns
from scopeway.xds.encoding import protobuf as wire
from scopeway.xds.encoding.messages import delta_request_steps, sotw_request_steps
from scopeway.xds.grpc_server.cpu_budget import SLICE, ClientBudgets
from scopeway.xds.grpc_server.stream import budget_key
from scopeway.xds.limits import Limits
from scopeway.xds.protocol.session import DeltaSession, SotwSession
from scopeway.xds.source import Node
from scopeway.xds.steps import STRIDE, Steps, finish
from scopeway.xds.type_urls import CLUSTER, LISTENER
from xds_model import Store, write_node, write_request, write_sotw_request

NAMES = [f"name-{number}" for number in range(20_000)]
NODE = write_node("site/1", "site")


def burn(seconds: float) -> None:
    end = thread_time() + seconds
    while thread_time() < end:
        pass


def work(log: list[str], name: str, steps: int, seconds: float = SLICE) -> Steps[str]:
    for _ in range(steps):
        burn(seconds)
        log.append(name)
        yield
    return name


async def gather(*runs: Any) -> Any:
    return await asyncio.gather(*runs)


class TestSlices:
    """How long the work of one client blocks the event loop."""

    async def go(self, *keys: str, steps: int = 10) -> list[str]:
        budgets, log = ClientBudgets(Limits()), list[str]()
        works = [
            budgets.acquire(key).run(work(log, f"{key}{number}", steps))
            for number, key in enumerate(keys)
        ]
        await asyncio.gather(*works)
        return log

    def test_clients_take_turns_and_so_do_the_streams_of_one_client(self) -> None:
        log = asyncio.run(self.go("a", "a", "a", "b", steps=6))

        assert [each[0] for each in log[:12]].count("b") >= 5
        assert {log.count(name) for name in ("a0", "a1", "a2", "b3")} == {6}
        assert {"a0", "a1", "a2"} <= set(log[:12])

    def test_a_client_with_many_streams_gets_one_slice_of_a_turn(self) -> None:
        async def go() -> Turns:
            budget, turns = ClientBudgets(Limits()).acquire("a"), Turns()
            with turns.watched():
                await gather(*(budget.run(work([], "", 20, 0.0005)) for _ in range(20)))
            return turns

        turns = asyncio.run(go())
        assert turns.count > 20 * 20 * 0.0005 / SLICE / 2
        assert turns.longest < 10 * SLICE  # of 200 ms of work

    def test_a_small_request_does_not_wait_for_a_large_one(self) -> None:
        async def go() -> list[str]:
            budgets, log = ClientBudgets(Limits()), list[str]()
            large = asyncio.create_task(budgets.acquire("a").run(work(log, "large", 50)))
            await asyncio.sleep(0)
            await budgets.acquire("b").run(work(log, "small", 1, 0))
            log.append("answered")
            await large
            return log

        log = asyncio.run(go())
        assert log.index("answered") <= 2
        assert log.count("large") == 50

    def test_a_cancelled_stream_leaves_its_turn_to_the_next(self) -> None:
        async def go() -> list[str]:
            budget, log = ClientBudgets(Limits()).acquire("a"), list[str]()
            tasks = [
                asyncio.create_task(budget.run(work(log, str(number), 5))) for number in range(4)
            ]
            await asyncio.sleep(0)
            for task in tasks[:3]:
                task.cancel()
            await tasks[3]
            return log

        assert asyncio.run(go()).count("3") == 5

    def test_an_error_of_the_work_is_raised_to_its_caller(self) -> None:
        def failing() -> Steps[None]:
            yield
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            asyncio.run(ClientBudgets(Limits()).acquire("a").run(failing()))


class TestBudget:
    """How much CPU time one client has."""

    LIMITS = Limits(cpu_share=0.1, cpu_burst=0.01)

    def test_only_the_client_that_has_used_up_its_budget_waits(self) -> None:
        async def go() -> tuple[list[str], list[float]]:
            budgets, log = ClientBudgets(self.LIMITS), list[str]()
            told: list[float] = []
            overdrawn = asyncio.Event()

            def tell(seconds: float) -> None:
                told.append(seconds)
                overdrawn.set()

            a = [budgets.acquire("a").run(work(log, "a", 9), None, tell) for _ in range(2)]
            tasks = [asyncio.create_task(each) for each in a]
            await overdrawn.wait()
            log.append("overdrawn")
            await budgets.acquire("b").run(work(log, "b", 2))
            log.append("served")
            await asyncio.gather(*tasks)
            return log, told

        log, told = asyncio.run(go())
        since = log[log.index("overdrawn") :]
        assert since[: since.index("served")].count("a") <= 1
        assert log.count("a") == 18
        assert all(seconds > 0 for seconds in told)

    def test_the_streams_of_a_client_share_a_budget_and_find_it_again(self) -> None:
        async def go() -> None:
            budgets = ClientBudgets(self.LIMITS)
            first, second = budgets.acquire("a"), budgets.acquire("a")
            first.charge(1)
            assert second.overdrawn() == pytest.approx(9.9, abs=0.1)
            budgets.release(first)
            budgets.release(second)
            again = budgets.acquire("a")
            assert again.overdrawn() > 9
            assert not budgets.acquire("b").overdrawn()
            assert not budgets.acquire(None).overdrawn()
            assert len(budgets) == 2

        asyncio.run(go())

    def test_the_budget_of_a_client_without_streams_is_dropped_when_it_is_full(self) -> None:
        async def go() -> list[int]:
            budgets = ClientBudgets(Limits(cpu_share=1, cpu_burst=0.1))
            budget = budgets.acquire("a")
            budget.charge(0.05)
            budgets.release(budget)
            counts = [len(budgets)]
            await asyncio.sleep(budget.seconds_until_full() + 0.2)
            return [*counts, len(budgets)]

        assert asyncio.run(go()) == [1, 0]

    def test_the_budget_key_is_the_certificate_or_the_cluster_of_the_node(self) -> None:
        node = Node(id="site/1", cluster="site")
        assert budget_key(("spiffe://td/a",), None) == "spiffe://td/a"
        assert budget_key(("spiffe://td/a",), node) == "spiffe://td/a"
        assert budget_key((), node) == ""
        assert budget_key(None, node) == "site"
        assert budget_key(None, None) is None


class TestSteps:
    """One step of work processes at most STRIDE names, or one lookup."""

    @staticmethod
    def counted(steps: Steps[Any]) -> tuple[int, Any]:
        count = 0
        while True:
            try:
                next(steps)
            except StopIteration as done:
                return count, done.value
            count += 1

    def delta(self, session: Any, **fields: Any) -> tuple[int, int]:
        data = write_request(CLUSTER, node=NODE, **fields)
        decoding, request = self.counted(delta_request_steps(data, True, 4096, 40_000, ""))
        return decoding, self.counted(session.receive_steps(request, 0))[0]

    def sotw(self, session: Any, **fields: Any) -> tuple[int, int]:
        data = write_sotw_request(CLUSTER, node=NODE, **fields)
        decoding, request = self.counted(sotw_request_steps(data, True, 4096, 40_000, ""))
        return decoding, self.counted(session.receive_steps(request, 0))[0]

    @pytest.fixture
    def store(self) -> Store:
        return Store(texts={(CLUSTER, name): "1" for name in NAMES})

    def test_a_large_delta_request_is_processed_in_steps(self, store: Store) -> None:
        least = len(NAMES) // STRIDE
        session = DeltaSession(store, response_limit=1 << 30)
        versions = dict.fromkeys(NAMES, "1")
        assert min(self.delta(session, subscribe=NAMES, versions=versions)) >= least
        answering, responses = self.counted(session.response_steps(0))
        assert answering >= len(NAMES)
        nonce = responses[0].nonce
        assert self.delta(session, nonce=nonce)[1] >= least
        assert min(self.delta(session, subscribe=["*"], unsubscribe=NAMES)) >= least
        finish(session.response_steps(0))
        store.wildcards[CLUSTER] = NAMES
        session.wildcard_changed(CLUSTER)
        assert self.counted(session.response_steps(0))[0] >= 0
        assert self.delta(session, unsubscribe=["*"])[1] >= 0

    def test_a_nack_of_many_resources_is_processed_in_steps(self, store: Store) -> None:
        session = DeltaSession(store, response_limit=1 << 30)
        self.delta(session, subscribe=NAMES)
        (response,) = finish(session.response_steps(0))
        assert self.delta(session, nonce=response.nonce, error="no")[1] >= len(NAMES) // STRIDE

    def test_a_large_sotw_request_is_processed_in_steps(self, store: Store) -> None:
        least = len(NAMES) // STRIDE
        session = SotwSession(store)
        assert min(self.sotw(session, names=NAMES)) >= least
        answering, (response,) = self.counted(session.response_steps(0))
        assert answering >= len(NAMES) + 2 * least
        assert self.sotw(session, names=NAMES, nonce=response.nonce)[1] >= least
        assert self.sotw(session, names=["*"])[1] >= least

    def test_a_request_of_a_million_fields_is_decoded_in_steps(self) -> None:
        data = write_request(CLUSTER, node=NODE) + b"\x1a\x00" * 1_000_000
        steps, request = self.counted(delta_request_steps(data, True, 4096, 40_000, ""))

        assert steps >= 1_000_000 // STRIDE
        assert (len(request.subscribe), request.skipped) == (40_000, 960_000)


class TestInterruption:
    """Changes between the steps of a response."""

    def test_no_resource_is_sent_before_one_that_it_may_refer_to(self) -> None:
        store = Store(texts={(CLUSTER, "c"): "1", **{(LISTENER, each): "1" for each in "lmn"}})
        session = DeltaSession(store)

        def say(type_url: str, **fields: Any) -> None:
            session.receive(finish(_decoded(type_url, **fields)), 0)

        say(CLUSTER, node=NODE, subscribe=["c"])
        (response,) = session.responses_to_send(0)
        say(CLUSTER, nonce=response.nonce)
        say(LISTENER, subscribe=["l", "m", "n"])
        steps = session.response_steps(0)
        next(steps)  # the first listener has been looked up
        store.texts |= {(CLUSTER, "c"): "2", (LISTENER, "m"): "2"}
        assert session.resources_changed(CLUSTER, ["c"])
        assert session.resources_changed(LISTENER, ["m"])

        (listeners,) = finish(steps)
        assert (listeners.type_url, listeners.resources) == (LISTENER, 1)
        (clusters,) = session.responses_to_send(0)
        assert clusters.type_url == CLUSTER
        say(LISTENER, nonce=listeners.nonce)
        (rest,) = session.responses_to_send(0)
        assert (rest.type_url, rest.resources) == (LISTENER, 2)

    @pytest.mark.parametrize("variant", [DeltaSession, SotwSession])
    def test_no_resource_made_in_steps_is_sent_before_one_that_it_may_refer_to(
        self, variant: Any
    ) -> None:
        """A cluster changes while the listener that may refer to it is being made."""
        sotw = variant is SotwSession
        decode, write = (
            (sotw_request_steps, write_sotw_request)
            if sotw
            else (delta_request_steps, write_request)
        )

        def say(type_url: str, names: list[str], **fields: Any) -> None:
            asked = {"names": names} if sotw else {"subscribe": names}
            data = write(type_url, **asked, **fields)
            session.receive(finish(decode(data, True, 4096, 40_000, "")), 0)

        store = Store(texts={(CLUSTER, "c"): "1", (LISTENER, "l"): "1"}, steps=3)
        session = variant(store)
        say(CLUSTER, ["c"], node=NODE)
        (response,) = session.responses_to_send(0)
        say(CLUSTER, ["c"] if sotw else [], nonce=response.nonce)
        say(LISTENER, ["l"])
        steps = session.response_steps(0)
        next(steps)  # the listener is being made
        store.texts |= {(CLUSTER, "c"): "2", (LISTENER, "l"): "2"}
        assert session.resources_changed(CLUSTER, ["c"])

        assert finish(steps) == []
        responses = session.responses_to_send(0)
        assert [each.type_url for each in responses] == [CLUSTER, LISTENER]

    @pytest.mark.parametrize("variant", [DeltaSession, SotwSession])
    def test_a_resource_may_take_many_steps(self, variant: Any) -> None:
        session = variant(Store(texts={(CLUSTER, "c"): "1"}, steps=50))
        asked = {"names": ["c"]} if variant is SotwSession else {"subscribe": ["c"]}
        data = (write_sotw_request if variant is SotwSession else write_request)(
            CLUSTER, node=NODE, **asked
        )
        decode = sotw_request_steps if variant is SotwSession else delta_request_steps
        session.receive(finish(decode(data, True, 4096, 40_000, "")), 0)
        count, (response,) = TestSteps.counted(session.response_steps(0))
        assert count >= 50
        assert response.resources == 1


def _decoded(type_url: str, **fields: Any) -> Steps[Any]:
    return delta_request_steps(write_request(type_url, **fields), True, 4096, 40_000, "")


def request_of(case: str) -> tuple[bytes, int]:
    """Return a request of a given size with as many fields as possible, and their number."""
    entry = b"\x0a\x00" * 2000  # of empty names, or texts
    fields = {
        "fields that are not known": (b"\x98\x06\x01" * 100_000, 100_000),
        "numbers in the place of names": (b"\x18\x01" * 100_000, 100_000),
        "names of fixed length": (b"\x1d0000" * 100_000, 100_000),
        "entries of versions": (wire.field_bytes(5, entry) * 100, 200_000),
        "a node's fields": (wire.field_bytes(1, b"\x98\x06\x01" * 100_000), 100_000),
        "a node's localities": (wire.field_bytes(1, wire.field_bytes(4, entry) * 100), 200_000),
    }
    data, count = fields[case]
    return wire.field_string(2, CLUSTER) + data, count


@pytest.mark.parametrize(
    "case",
    [
        "fields that are not known",
        "numbers in the place of names",
        "names of fixed length",
        "entries of versions",
        "a node's fields",
        "a node's localities",
    ],
)
def test_no_step_reads_more_than_a_few_thousand_fields(case: str) -> None:
    data, count = request_of(case)

    steps = sum(1 for _ in delta_request_steps(data, True, 4096, 20_000, ""))

    assert steps >= count // 4096
