"""Which clouds count as connected: those that left a moment ago still do.

Pure; its caller has the clock. An Envoy that reconnects, or a replica that is restarted, must not
change the status of any object. So a cloud counts as absent only after a grace, and at the
beginning all that are not seen count as having just left.
"""

from collections.abc import Iterable

from scopeway.control_plane.status_writer.conditions import Connection


class Presence:
    """The connected clouds, and those that have just left; by the keys of `connected_clouds`."""

    def __init__(self, grace: float) -> None:
        """Begin with nothing known.

        Args:
            grace: Seconds that an Envoy may be away.
        """
        self._grace = grace
        self._connected: frozenset[int] = frozenset()
        self._left: dict[int, float] = {}
        """When these left; the oldest first."""
        self._began: float | None = None
        """When all replicas' clouds were first known; None: not yet."""
        self._is_fresh = True
        """Whether the grace of the beginning is not over."""

    @property
    def is_unknown(self) -> bool:
        """Whether it isn't known yet which clouds are connected."""
        return self._began is None

    def update(self, connected: frozenset[int], now: float) -> Iterable[int]:
        """Take the clouds that are connected now; return those whose state may have changed."""
        if self._began is None:
            self._began = now
            self._connected = connected
            return connected
        came, went = connected - self._connected, self._connected - connected
        for key in came:
            self._left.pop(key, None)
        self._left.update(dict.fromkeys(went, now))
        self._connected = connected
        return came

    def expire(self, now: float) -> Iterable[int] | None:
        """Return the clouds whose grace is over since the last call; None: any cloud may be."""
        if self._began is None:
            return ()
        gone = []
        for key, left in self._left.items():
            if now - left < self._grace:
                break
            gone.append(key)
        for key in gone:
            del self._left[key]
        if self._is_fresh and now - self._began >= self._grace:
            self._is_fresh = False
            return None
        return gone

    def state(self, key: int) -> Connection:
        """Return what is known of a cloud, as of the last `expire`."""
        if self._began is None:
            return Connection.UNKNOWN
        if key in self._connected:
            return Connection.CONNECTED
        if self._is_fresh or key in self._left:
            return Connection.LEFT
        return Connection.ABSENT
