"""Step 4: an image of 1 GB goes to another cloud's Glance and comes back, through two Envoys.

Watches the memory of both while it happens: bodies must flow, not pile up.
"""

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo.full.scenario import Scene, expect
from harness.http import request

SCOPE = "{keystone:cloud-1;glance:cloud-2}"
WAY = ("cloud-1", "cloud-2")
"""Whose Envoys the bytes pass."""
IMAGE_BYTES = 1_000_000_000
BLOCK_BYTES = 1_000_000
COMMAND_SECONDS = 900.0
SAMPLE_SECONDS = 0.2
MAX_GROWTH_MB = 64
"""Far above what both windows of flow control hold, far below the image."""


def tell(scene: Scene) -> None:
    """Uploads, downloads, compares, and deletes it again."""
    screen = scene.screen
    there, back = scene.stage.root / "big.raw", scene.stage.root / "back.raw"
    try:
        sent = _write(there)
        with _watching(scene) as memory:
            scene.openstack(
                *("image", "create", "--file", str(there), "--disk-format", "raw"),
                *("--container-format", "bare", "big"),
                scope=SCOPE,
                fields=("id", "name", "status", "size"),
                seconds=COMMAND_SECONDS,
            )
        _judge(scene, memory, "upload")
        with _watching(scene) as memory:
            scene.openstack(
                *("image", "save", "--file", str(back), "big"), scope=SCOPE, seconds=COMMAND_SECONDS
            )
        _judge(scene, memory, "download")
        received = _digest(back)
        screen.output(f"sha256 sent     {sent}")
        screen.output(f"sha256 received {received}")
        expect(sent == received, "the image came back with other bytes")
        scene.openstack("image", "delete", "big", scope=SCOPE)
    finally:
        there.unlink(missing_ok=True)
        back.unlink(missing_ok=True)


class Memory:
    """What the Envoys on the way held in MB, before and at most."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self.before: dict[str, float] = {}
        self.most: dict[str, float] = {}

    def add(self, cloud: str, megabytes: float) -> None:
        """One more look."""
        self.before.setdefault(cloud, megabytes)
        self.most[cloud] = max(megabytes, self.most.get(cloud, 0.0))


@contextmanager
def _watching(scene: Scene) -> Iterator[Memory]:
    memory = Memory()
    done = threading.Event()

    def look() -> None:
        for cloud in WAY:
            memory.add(cloud, _allocated(scene, cloud))

    def watch() -> None:
        while not done.wait(SAMPLE_SECONDS):
            look()

    look()
    thread = threading.Thread(target=watch, name="memory", daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        done.set()
        thread.join()


def _allocated(scene: Scene, cloud: str) -> float:
    """MB that a site's Envoy has allocated."""
    answer = request("GET", f"http://127.0.0.1:{scene.site(cloud).envoy_admin}/memory").json
    return int(str(answer["allocated"])) / 1e6


def _judge(scene: Scene, memory: Memory, what: str) -> None:
    for cloud in WAY:
        before, most = memory.before[cloud], memory.most[cloud]
        scene.screen.output(
            f"Envoy of {cloud}, {what}: {before:.1f} MB before, {most:.1f} MB at most"
        )
        expect(
            most - before < MAX_GROWTH_MB,
            f"the Envoy of {cloud} grew by {most - before:.0f} MB during the {what}",
        )


def _write(file: Path) -> str:
    """Makes an image that doesn't repeat itself; its SHA-256."""
    digest = hashlib.sha256()
    block = os.urandom(BLOCK_BYTES - 8)
    with file.open("wb") as out:
        for number in range(IMAGE_BYTES // BLOCK_BYTES):
            data = number.to_bytes(8, "big") + block
            digest.update(data)
            out.write(data)
    return digest.hexdigest()


def _digest(file: Path) -> str:
    with file.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
