"""What a collector takes of memory, as its own process has it."""

import asyncio
import json
import subprocess
import sys
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from harness.fake_clouds import CollectorClient, Response, answer, fake_clouds, fan_out_headers

MOST = 60.0
"""MiB, with 24 MiB of answers under way."""


def page(items: int, size: int) -> bytes:
    made = [{"id": str(uuid.uuid4()), "text": "x" * size} for _ in range(items)]
    return json.dumps({"images": made}).encode()


def peak_of(process: "subprocess.Popen[bytes]") -> float:
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = [each for each in status.splitlines() if each.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


async def until_it_listens(path: Path) -> None:
    """Wait for a socket: its file is there before anybody listens."""
    while True:
        try:
            _, writer = await asyncio.open_unix_connection(path)
        except (FileNotFoundError, ConnectionRefusedError):
            await asyncio.sleep(0.01)
        else:
            writer.close()
            return


async def read_slowly(client: CollectorClient, number: int, clouds: list[str]) -> Response:
    """Read an answer a second after it has begun, as a client of its own."""
    headers = fan_out_headers(clouds)
    headers["x-auth-token"] = f"{number}{headers['x-auth-token']}"
    headers["x-forwarded-for"] = f"192.0.2.{number}"
    reader, writer = await client.send("/v2/images", headers)
    await asyncio.sleep(1)
    try:
        return await client.receive(reader)
    finally:
        writer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("body", "clouds", "clients", "status"),
    [
        (page(8000, 980), 2, 4, 200),  # as large as a page may be
        (page(100, 750), 120, 6, 200),  # many at once
        (b'{"images": [%b{}]}' % (b"{}," * 2_700_000), 3, 4, 502),
        (b'{"images": [%b0]}' % (b"0," * 4_000_000), 3, 4, 502),
        (page(1, 8_000_000), 3, 4, 502),
        (b'{"images": [{%b"b":0}]}' % (b'"\\u0061":0,' * 700_000), 3, 4, 502),
    ],
    ids=["large pages", "many pages", "empty items", "numbers", "one item", "many fields"],
)
async def test_the_memory_of_a_collector_is_bounded_whatever_clouds_answer(
    body: bytes, clouds: int, clients: int, status: int
) -> None:
    names = [f"c{number}" for number in range(clouds)]
    with TemporaryDirectory(prefix="scopeway") as folder:
        async with fake_clouds(Path(folder)) as fakes:
            fakes.behaviours = dict.fromkeys(names, answer(body))
            command = [sys.executable, "-m", "scopeway.control_plane", "collect", "home"]
            command += ["--log-level", "error"]
            process = subprocess.Popen(  # noqa: ASYNC220 - it starts at once
                [*command, "--socket-dir", folder, "--cloud-seconds", "300", "--deadline", "300"]
            )
            try:
                client = CollectorClient(Path(folder) / "collector.sock")
                await until_it_listens(client.path)
                responses = await asyncio.gather(
                    *(read_slowly(client, number, names) for number in range(clients))
                )
                peak = peak_of(process)
            finally:
                process.terminate()
                process.wait()

    assert {(each.status, each.whole) for each in responses} == {(status, True)}
    assert peak <= MOST
