"""A name server for the Envoys of a test, which are shown a `resolv.conf` of their own."""

import os
import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from threading import Thread

_A, _NO_ERROR, _NO_SUCH_NAME = 1, 0x8180, 0x8183
_TTL_SECONDS = 60


class NameServer:
    """Answers with `addresses`; knows no other name, and says nothing about those in `silent`."""

    def __init__(self, folder: Path) -> None:
        self.addresses: dict[str, Sequence[str]] = {}
        """Host name to its addresses of IPv4."""
        self.silent: set[str] = set()
        self.asked: list[str] = []
        """The names of all questions so far."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._resolv_conf = folder / "resolv.conf"
        self._resolv_conf.write_text(f"nameserver 127.0.0.1:{self._socket.getsockname()[1]}\n")
        Thread(target=self._serve, daemon=True).start()

    def command(self) -> list[str]:
        """Return what to put before a command so that it asks this server.

        A mount namespace: as root, or where the kernel allows them to everybody.
        """
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        script = f"mount --bind '{self._resolv_conf}' /etc/resolv.conf && exec \"$@\""
        return ["unshare", *user, "--mount", "sh", "-c", script, "sh"]

    def close(self) -> None:
        self._socket.close()

    def _serve(self) -> None:
        with suppress(OSError):  # closed
            while True:
                question, client = self._socket.recvfrom(4096)
                answer = self._answer(question)
                if answer:
                    self._socket.sendto(answer, client)

    def _answer(self, question: bytes) -> bytes:
        labels, at = [], 12
        while length := question[at]:
            labels.append(question[at + 1 : at + 1 + length].decode())
            at += 1 + length
        name = ".".join(labels).lower()
        (kind,) = struct.unpack_from("!H", question, at + 1)
        self.asked.append(name)
        if name in self.silent:
            return b""
        known = self.addresses.get(name)
        found = [socket.inet_aton(each) for each in known or () if kind == _A]
        flags = _NO_SUCH_NAME if known is None else _NO_ERROR
        records = b"".join(
            struct.pack("!HHHIH", 0xC00C, _A, 1, _TTL_SECONDS, 4) + each for each in found
        )
        head = question[:2] + struct.pack("!HHHHH", flags, 1, len(found), 0, 0)
        return head + question[12 : at + 5] + records
