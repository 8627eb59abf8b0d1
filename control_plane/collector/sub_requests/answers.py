"""What a fan-out hands out: whole answers, or heads whose bodies wait."""

from typing import Protocol

from scopeway.control_plane.collector.http.exchange import Exchange, Sink
from scopeway.control_plane.collector.messages.answer import Answer


class Round(Protocol):
    """The clouds that are asked: `fan_out.FanOut`."""

    async def next(self) -> Exchange:
        """Return the next exchange of which something has come."""
        ...

    def keep_taken(self) -> None:
        """Keep what was handed out last until it is relayed, or until the end."""
        ...

    async def whole(self, exchange: Exchange) -> None:
        """Wait until the rest of an answer has come, whose head was handed out."""
        ...

    def drop_others(self, exchange: Exchange) -> None:
        """Reset all but one."""
        ...


class Answers:
    """The answers of a round, each whole."""

    def __init__(self, clouds: Round, expected: int) -> None:
        """Give `expected` answers."""
        self._clouds = clouds
        self._expected = expected

    def __aiter__(self) -> "Answers":
        return self

    async def __anext__(self) -> Answer:
        if self._expected == 0:
            raise StopAsyncIteration
        self._expected -= 1
        return (await self._clouds.next()).answer


class Head:
    """An answer whose head has come, or that has failed."""

    def __init__(self, clouds: Round, exchange: Exchange) -> None:
        """Hand out the head of an exchange."""
        self._clouds = clouds
        self._exchange = exchange
        self.answer = exchange.answer

    def keep(self) -> None:
        """Keep it while other heads are taken: it is the one to relay, if any is."""
        self._clouds.keep_taken()

    async def collect(self) -> Answer:
        """Return the answer with its body, which is cut off as `too-large` above 64 KiB."""
        self._exchange.go_on()
        await self._clouds.whole(self._exchange)
        return self.answer

    async def relay(self, sink: Sink) -> bool:
        """Pass the body on, and reset all other sub-requests; return whether all of it came."""
        self._clouds.drop_others(self._exchange)
        sink.source = self._exchange
        try:
            self._exchange.relay(sink)
            await self._clouds.whole(self._exchange)
        finally:
            sink.source = None
        return not self.answer.cause


class Heads:
    """The heads of a round."""

    def __init__(self, clouds: Round, expected: int) -> None:
        """Give `expected` heads."""
        self._clouds = clouds
        self._expected = expected

    def __aiter__(self) -> "Heads":
        return self

    async def __anext__(self) -> Head:
        if self._expected == 0:
            raise StopAsyncIteration
        self._expected -= 1
        return Head(self._clouds, await self._clouds.next())
