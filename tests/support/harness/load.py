"""Requests of several kinds that go on while something is changed: which of them failed."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPException

from harness.http import Connection, Response
from harness.process import until

PAUSE = 0.01
"""Seconds between two requests of a kind: the machine has other work."""

Kind = tuple[Callable[[Connection], Response], Callable[[Response], object]]
"""A request, and whether its answer is right."""


class Load:
    """A client for each kind of request, over a connection that it keeps as long as it may."""

    def __init__(self, port: int, kinds: Mapping[str, Kind]) -> None:
        self.failed: list[str] = []
        self.counts = dict.fromkeys(kinds, 0)
        self._kinds = kinds
        self._port = port
        self._over = threading.Event()

    @contextmanager
    def running(self) -> Iterator["Load"]:
        threads = [threading.Thread(target=self._run, args=(kind,)) for kind in self._kinds]
        for each in threads:
            each.start()
        try:
            yield self
        finally:
            self._over.set()
            for each in threads:
                each.join()

    def once(self) -> list[str]:
        """Send one request of each kind, over new connections; return what failed."""
        before = len(self.failed)
        for kind in self._kinds:
            with Connection(self._port) as connection:
                self._one(kind, connection)
        return self.failed[before:]

    def goes_on(self, more: int = 5) -> None:
        """Wait until each kind was answered so many times again."""
        before = dict(self.counts)
        until(
            lambda: all(self.counts[kind] >= count + more for kind, count in before.items()),
            f"{more} more answers of each kind; so far {self.counts}",
        )

    def _run(self, kind: str) -> None:
        while not self._over.is_set():
            with Connection(self._port) as connection:
                while not self._over.is_set() and self._one(kind, connection):
                    time.sleep(PAUSE)

    def _one(self, kind: str, connection: Connection) -> bool:
        """Send one request; return whether the connection stays."""
        ask, is_right = self._kinds[kind]
        try:
            response = ask(connection)
        except (OSError, HTTPException) as error:
            self.failed.append(f"{kind}: {error!r}")
            return False
        try:
            right = is_right(response)
        except (AssertionError, LookupError, ValueError):  # it is not what can be looked at
            right = False
        if not right:
            self.failed.append(f"{kind}: {response.status} {response.body[:200]!r}")
        self.counts[kind] += 1
        return response.headers.get("connection", "") != "close"
