"""The longest turn of the event loop."""

import asyncio
import gc
import time

from control_plane.loop_lag import PERIOD, LoopLag


def burn(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_long_turn_is_seen_once_and_a_collection_is_not() -> None:
    lag = LoopLag()

    async def go() -> tuple[float, float]:
        watching = asyncio.create_task(lag.watch())
        await asyncio.sleep(0)
        burn(0.3)
        await asyncio.sleep(3 * PERIOD)
        found = lag.take()
        lag._collected("start", {})
        burn(0.3)  # as a collection would
        lag._collected("stop", {})
        time.sleep(0.3)  # noqa: ASYNC251 - as if other processes ran
        await asyncio.sleep(3 * PERIOD)
        watching.cancel()
        return found, lag.take()

    before = len(gc.callbacks)
    long, collection = asyncio.run(go())
    assert long >= 0.3 - PERIOD
    assert collection < 0.2
    assert len(gc.callbacks) == before
