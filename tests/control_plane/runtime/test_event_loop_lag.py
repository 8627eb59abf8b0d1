"""The longest turn of the event loop."""

import asyncio
import gc
import time

from scopeway.control_plane.runtime.event_loop_lag import LoopLag


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_long_turn_is_reported_once_without_garbage_collection() -> None:
    lag = LoopLag()

    async def go() -> tuple[float, float]:
        await asyncio.sleep(0)
        burn(0.3)
        await asyncio.sleep(0)
        found = lag.take()
        await asyncio.sleep(0)
        lag.take()
        lag._collected("start", {})
        burn(0.3)  # as a collection would
        lag._collected("stop", {})
        time.sleep(0.3)  # noqa: ASYNC251 - as if other processes ran
        await asyncio.sleep(0)
        return found, lag.take()

    before = len(gc.callbacks)
    with lag.measured() as runner:
        long, collection = runner.run(go())
    assert long >= 0.3
    assert collection < 0.2
    assert len(gc.callbacks) == before


def test_many_short_turns_are_not_reported_as_a_long_one() -> None:
    lag = LoopLag()

    async def go() -> float:
        for _ in range(50):
            burn(0.005)
            await asyncio.sleep(0)
        return lag.take()

    with lag.measured() as runner:
        assert 0.005 <= runner.run(go()) < 0.015


def test_garbage_collection_in_another_thread_is_not_subtracted_from_a_turn() -> None:
    lag = LoopLag()

    async def go() -> float:
        await asyncio.sleep(0)
        lag.take()
        await asyncio.to_thread(lag._collected, "start", {})
        burn(0.2)
        await asyncio.to_thread(lag._collected, "stop", {})
        return lag.take()

    with lag.measured() as runner:
        assert runner.run(go()) >= 0.2
