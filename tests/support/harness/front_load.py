"""Requests for images through a front: of targets in use, and of ever new ones."""

import time
from collections.abc import Callable, Iterable
from itertools import permutations

from harness.http import Connection, Response

IMAGES = "/image/v2/images"


def image(scope: str) -> Callable[[Connection], Response]:
    """Return a request for images with a scope."""
    headers = [("X-Scope", scope)] if scope else []
    return lambda client: client.send(IMAGES, headers)


def is_ok(response: Response) -> bool:
    return response.status == 200


class FirstUses:
    """Asks for another target each time: two clouds in an order that was not used before."""

    def __init__(self, clouds: Iterable[str], *, pause: float) -> None:
        """Ask for nothing yet.

        Args:
            clouds: Names, of which all pairs are used up in turn.
            pause: Seconds before each request.
        """
        self._pairs = permutations(clouds, 2)
        self._pause = pause
        self.milliseconds: list[float] = []
        """That each request took so far."""

    def __call__(self, client: Connection) -> Response:
        first, second = next(self._pairs)
        time.sleep(self._pause)
        begin = time.perf_counter()
        try:
            return image(f"{{image:{first}|{second}}}")(client)
        finally:
            self.milliseconds.append((time.perf_counter() - begin) * 1e3)
