"""Two network namespaces that are a round trip apart, for programs on one machine.

This kernel may have no `netem`: a TUN device in each namespace, and a process that passes packets
on from one to the other after half of the round trip. Needs root on Linux.
"""

import ctypes
import fcntl
import os
import select
import struct
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

HERE, THERE = "10.77.0.1", "10.77.0.2"
"""The addresses of this namespace and of the other one."""

MTU = 60_000
"""Large, so that a forwarder in Python keeps up: the windows under test count bytes."""

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_CLONE_NEWNET = 0x40000000


@dataclass(frozen=True, slots=True)
class Link:
    """The two ends; ends with the context that made it."""

    there: int
    """A process in the other namespace."""

    def command(self, *command: object) -> list[str]:
        """Return a command that runs in the other namespace."""
        return ["nsenter", f"--target={self.there}", "--net", *map(str, command)]


def enter_new_namespace() -> None:
    """Start this program again in a network namespace of its own, where nothing else listens."""
    if os.environ.get("SCOPEWAY_BENCH_NAMESPACE") == "1":
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        return
    os.environ["SCOPEWAY_BENCH_NAMESPACE"] = "1"
    os.execvp("unshare", ["unshare", "--net", sys.executable, "-B", *sys.argv])


@contextmanager
def link(round_trip: float) -> Iterator[Link]:
    """Join this namespace to a new one.

    Args:
        round_trip: Seconds.
    """
    holder = subprocess.Popen(["unshare", "--net", "sleep", "infinity"])
    forwarder = None
    try:
        _until_apart(holder.pid)
        made = Link(there=holder.pid)
        forwarder = subprocess.Popen(
            [sys.executable, "-B", __file__, str(holder.pid), str(round_trip / 2)],
            stdout=subprocess.PIPE,
        )
        assert forwarder.stdout is not None
        forwarder.stdout.readline()
        _up(HERE, [])
        _up(THERE, made.command())
        yield made
    finally:
        for each in (forwarder, holder):
            if each is not None:
                each.kill()
                each.wait()


def _until_apart(pid: int) -> None:
    own = os.readlink("/proc/self/ns/net")
    while os.readlink(f"/proc/{pid}/ns/net") == own:
        time.sleep(0.01)


def _up(address: str, prefix: Sequence[str]) -> None:
    for command in (
        ["ip", "link", "set", "lo", "up"],
        ["ip", "address", "add", f"{address}/24", "dev", "far"],
        ["ip", "link", "set", "far", "mtu", str(MTU), "txqueuelen", "10000", "up"],
    ):
        subprocess.run([*prefix, *command], check=True)


def _tun() -> int:
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH", b"far", _IFF_TUN | _IFF_NO_PI))
    return device


def _forward(pid: int, delay: float) -> None:
    """Pass packets on between the namespaces, for ever."""
    here = _tun()
    with open(f"/proc/{pid}/ns/net") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    there = _tun()
    print("ready", flush=True)
    other = {here: there, there: here}
    waiting: deque[tuple[float, int, bytes]] = deque()
    while True:
        timeout = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        readable, _, _ = select.select([here, there], [], [], timeout)
        for device in readable:
            for _ in range(64):
                try:
                    packet = os.read(device, 1 << 16)
                except BlockingIOError:
                    break
                waiting.append((time.monotonic() + delay, other[device], packet))
        while waiting and waiting[0][0] <= time.monotonic():
            _, device, packet = waiting.popleft()
            os.write(device, packet)


if __name__ == "__main__":
    _forward(int(sys.argv[1]), float(sys.argv[2]))
