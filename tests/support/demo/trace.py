"""From the access logs of several Envoys to the story of one step.

Owns the reading of the access-log format (docs/envoy.md); pure but for `AccessLogs`, which
remembers how far each file has been read.
"""

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

QUIET_SECONDS = 0.25
"""Envoy writes its log a moment after the answer; without news for so long, all is there."""
LONGEST_WAIT_SECONDS = 5.0
COLUMNS = ("site asked", "request", "target", "answered by", "status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One request at one listener of one site."""

    time: str
    """RFC 3339, in UTC: its order is that of the text."""
    site: str
    listener: str
    """`front` (or one of its per-service ports) or `peer`."""
    request_id: str
    method: str
    path: str
    """Without the query."""
    service: str
    target: str
    served_by: str
    """The cloud that answered; "" where none did."""
    status: int

    @property
    def at_front(self) -> bool:
        """Whether this is where the request entered, not a hop between sites."""
        return self.listener.startswith("front")


class AccessLogs:
    """The access logs of all sites, read from where they were read last."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        """Begins at the present end of each file; they need not exist yet.

        Args:
            files: Cloud name to access log.
        """
        self._files = dict(files)
        self._offsets = {cloud: _size(file) for cloud, file in self._files.items()}

    def news(self) -> list[Hop]:
        """Waits until nothing more is written and returns the new hops, oldest first."""
        deadline = time.monotonic() + LONGEST_WAIT_SECONDS
        sizes = self._sizes()
        while time.monotonic() < deadline:
            time.sleep(QUIET_SECONDS)
            before, sizes = sizes, self._sizes()
            if sizes == before:
                break
        lines = [line for cloud in self._files for line in self._read(cloud)]
        return in_order(lines)

    def _sizes(self) -> dict[str, int]:
        return {cloud: _size(file) for cloud, file in self._files.items()}

    def _read(self, cloud: str) -> list[str]:
        if not self._files[cloud].exists():
            return []
        with self._files[cloud].open("rb") as file:
            file.seek(self._offsets[cloud])
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offsets[cloud] += len(whole)
        return whole.decode(errors="replace").splitlines()


def in_order(lines: Iterable[str]) -> list[Hop]:
    """The hops of access-log lines by the time at which they began; other lines are left out."""
    hops = [hop for line in lines if (hop := parse(line)) is not None]
    return sorted(hops, key=lambda hop: hop.time)


def parse(line: str) -> Hop | None:
    """One line of an access log, or None where it is no request."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict) or "method" not in entry:
        return None
    return Hop(
        time=_text(entry, "time"),
        site=_text(entry, "site"),
        listener=_text(entry, "listener"),
        request_id=_text(entry, "request_id"),
        method=_text(entry, "method"),
        path=_text(entry, "path").partition("?")[0],
        service=_text(entry, "service"),
        target=_text(entry, "target"),
        served_by=_text(entry, "served_by"),
        status=int(entry.get("status") or 0),
    )


def rows(hops: Iterable[Hop]) -> list[tuple[str, ...]]:
    """What a person needs of the requests that entered at fronts, in the order of `COLUMNS`."""
    return [
        (
            _asked_at(hop),
            f"{hop.method} {_asked(hop)}",
            hop.target,
            hop.served_by or "-",
            str(hop.status),
        )
        for hop in hops
        if hop.at_front
    ]


def _asked_at(hop: Hop) -> str:
    return hop.site if hop.listener == "front" else f"{hop.site}, {hop.listener}"


def _asked(hop: Hop) -> str:
    # on the way to a peer, the log shows the path behind the prefix by which the peer knows it
    prefix = "/" + hop.target.partition("@")[0]
    return hop.path.removeprefix(prefix) if hop.path.startswith(f"{prefix}/") else hop.path


def _text(entry: Mapping[str, Any], name: str) -> str:
    value = entry.get(name)
    return "" if value in (None, "-") else str(value)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
