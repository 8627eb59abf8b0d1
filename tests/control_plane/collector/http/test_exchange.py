"""When the body of an exchange is read, and when not."""

import asyncio

import pytest

from scopeway.control_plane.collector.http.byte_budget import Account, ByteBudget
from scopeway.control_plane.collector.http.exchange import Carrier, Exchange, Source
from scopeway.control_plane.collector.limits import Limits


class FakeCarrier:
    def __init__(self) -> None:
        self.reads = True

    def send(self, exchange: Exchange) -> None:
        pass

    def pause(self) -> None:
        self.reads = False

    def resume(self) -> None:
        self.reads = True


class FakeSender:
    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.budget = ByteBudget(Limits())
        self.cancelled = 0

    def start(self, exchange: Exchange, *, reuse: bool = True) -> None:
        pass

    def end(self, exchange: Exchange, carrier: Carrier | None, *, reusable: bool) -> None:
        pass


class FullSink:
    """Takes the first piece, and nothing more for now."""

    source: Source | None = None

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.taken.append(data)
        assert self.source is not None
        self.source.hold()


@pytest.mark.asyncio
async def test_a_client_that_is_full_after_the_first_piece_stops_the_reading() -> None:
    carrier, sink = FakeCarrier(), FullSink()
    exchange = Exchange(
        FakeSender(), "a", (b"",), Account(),
        head_only=False, limit=10, seconds=1, fresh=False,
        on_done=lambda _: None, on_head=lambda _: None,
    )  # fmt: skip
    exchange.attach(carrier, reused=False)
    exchange.on_head()
    exchange.on_body(b"x" * 20)  # in the same read: more than the limit of a body
    assert not carrier.reads

    sink.source = exchange
    exchange.relay(sink)

    assert sink.taken == [b"x" * 20]
    assert not carrier.reads
    exchange.go_on()
    assert carrier.reads


@pytest.mark.asyncio
async def test_an_exchange_is_read_if_neither_its_budget_nor_its_taker_holds_it() -> None:
    carrier = FakeCarrier()
    exchange = Exchange(
        FakeSender(), "a", (b"",), Account(),
        head_only=False, limit=10, seconds=1, fresh=False, on_done=lambda _: None,
    )  # fmt: skip
    exchange.attach(carrier, reused=False)

    exchange.pause()
    exchange.hold()
    exchange.resume()
    assert not carrier.reads
    exchange.go_on()
    assert carrier.reads
