"""More silent clients of a real control plane than it may open files."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from harness.fleet import at, manifest
from harness.http import send
from harness.identities import Identities
from harness.ports import free_ports
from harness.stack import ServeProcess
from scopeway.control_plane.admin.server import MAX_CLIENTS
from scopeway.control_plane.clouds.document import to_document

FILES = 160
MORE_FILES = 512
"""Enough for the clients of all addresses at once."""
GOOD = to_document(manifest("cloud-1", services={"image": {"endpoints": [at(9292)]}}))


@pytest.fixture
def serve(tmp_path: Path, write: Callable[..., Path]) -> Iterator[ServeProcess]:
    """A control plane that may open few files, whatever it asks for."""
    folder = write("clouds/a.yaml", GOOD).parent
    serve = ServeProcess(f"dir:{folder}", tmp_path, *Identities(tmp_path / "ca").serve_options())
    serve.command = ["bash", "-c", f'ulimit -n {FILES}; exec "$@"', "bash", *serve.command]
    yield serve.start()
    serve.kill()


def test_silent_clients_leave_file_descriptors_for_the_admin_address_and_the_registry(
    serve: ServeProcess, write: Callable[..., Any]
) -> None:
    """The admin address answers, and the registry is followed."""
    with ExitStack() as open_ones:
        for _ in range(2 * FILES):
            client = socket.create_connection(("127.0.0.1", serve.xds_port))
            open_ones.enter_context(closing(client))
        write("clouds/b.yaml", GOOD | {"metadata": {"name": "cloud-2"}})

        serve.wait_until(lambda: serve.status()["clouds"] == 2, "the registry is followed")
        assert serve.status()["stale"] is None
        assert len(list(Path(f"/proc/{serve.pid}/fd").iterdir())) < FILES


def test_silent_clients_of_every_address_leave_file_descriptors_for_the_registry(
    tmp_path: Path, write: Callable[..., Any]
) -> None:
    folder = write("clouds/a.yaml", GOOD).parent
    ports = free_ports(2)
    options = zip(("--health-listen", "--metrics-listen"), ports, strict=True)
    listen = [word for option, port in options for word in (option, f"127.0.0.1:{port}")]
    tls = Identities(tmp_path / "ca").serve_options()
    serve = ServeProcess(f"dir:{folder}", tmp_path, *listen, *tls)
    serve.command = ["bash", "-c", f'ulimit -n {MORE_FILES}; exec "$@"', "bash", *serve.command]
    serve.start()
    try:
        with ExitStack() as open_ones:
            many = [serve.xds_port] * MORE_FILES
            for port in (*many, *[serve.admin_port, *ports] * (MAX_CLIENTS + 5)):
                client = socket.create_connection(("127.0.0.1", port))
                open_ones.enter_context(closing(client))
            write("clouds/b.yaml", GOOD | {"metadata": {"name": "cloud-2"}})

            serve.wait_until(lambda: serve.status()["clouds"] == 2, "the registry is followed")
            answers = [send(port, "/healthz", host="localhost").status for port in ports]
            assert answers == [200, 404]
            assert len(list(Path(f"/proc/{serve.pid}/fd").iterdir())) < MORE_FILES
    finally:
        serve.kill()
