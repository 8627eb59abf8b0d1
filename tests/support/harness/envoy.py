"""A real Envoy as a child process."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from harness.http import Response, send

PROGRAM = Path(
    os.environ.get("SCOPEWAY_TEST_ENVOY") or Path(sys.executable).parent / "envoy"
).absolute()
"""What is tried: the Envoy beside this Python, or another (`make test-envoy`)."""

READY_SECONDS = 30.0
LOG_TAIL = 4000


@cache
def version() -> tuple[int, int]:
    """Return the version of that Envoy, such as (1, 40)."""
    told = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"/(\d+)\.(\d+)\.\d+/", told)
    assert found, told
    return int(found[1]), int(found[2])


def xds_cluster(port: int) -> dict[str, Any]:
    """Return the static cluster `xds` of a bootstrap: a server of xDS on this machine."""
    endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {
        "@type": f"type.googleapis.com/{options}",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    return {
        "name": "xds",
        "load_assignment": {
            "cluster_name": "xds",
            "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
        },
        "typed_extension_protocol_options": {options: http2},
    }


class Envoy:
    """One Envoy, started from a bootstrap; its admin interface gets a free port."""

    def __init__(
        self,
        bootstrap: Mapping[str, Any],
        folder: Path,
        name: str = "envoy",
        *,
        before: Sequence[str] = (),
        options: Sequence[str] = ("--disable-hot-restart",),
        drain_seconds: int = 1,
    ) -> None:
        """Start it.

        Args:
            bootstrap: What it starts with, all but the admin interface.
            folder: Gets its files.
            name: What these begin with.
            before: A command that runs it, such as `NameServer.command`.
            options: Further ones of its command line.
            drain_seconds: How long connections stay that a replaced listener had; 600 is Envoy's
                default.
        """
        self.folder, self.name = folder, name
        self.node = str(bootstrap["node"]["id"])
        self.log = folder / f"{name}.log"
        self.access_log_file = folder / f"{name}.access.log"
        config = folder / f"{name}.yaml"
        address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
        config.write_text(yaml.safe_dump({**bootstrap, "admin": {"address": address}}))
        admin = folder / f"{name}.admin"
        admin.unlink(missing_ok=True)
        with self.log.open("wb") as log, self.access_log_file.open("ab") as access_log:
            self.process = subprocess.Popen(
                [
                    *(*before, PROGRAM, "-c", config, "--concurrency", "1", *options),
                    *("--admin-address-path", admin, "--file-flush-interval-msec", "20"),
                    *("--drain-time-s", str(drain_seconds), "--log-level", "info"),
                ],
                stdout=access_log,
                stderr=log,
            )
        self.admin_port = int(self._wait_for(admin).rpartition(":")[2])

    def wait_ready(self) -> "Envoy":
        """Wait until the listeners are there."""
        self._until(lambda: self.admin("/ready").status == 200, "ready")
        return self

    def admin(self, path: str, method: str = "GET") -> Response:
        return send(self.admin_port, path, method=method)

    def stats(self, prefix: str = "") -> dict[str, int]:
        """Return the counters and gauges whose names begin like this."""
        stats = self.admin("/stats?format=json").json["stats"]
        return {
            each["name"]: each["value"]
            for each in stats
            if "value" in each and each["name"].startswith(prefix)
        }

    def memory(self) -> int:
        """Return the resident set, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = (each for each in status.splitlines() if each.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024

    def peak_memory(self) -> int:
        """Return the largest resident set so far, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        (line,) = (each for each in status.splitlines() if each.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024

    def access_log(self, request_id: str, lines: int = 1) -> list[dict[str, Any]]:
        """Return the lines of a request, once there are so many; Envoy writes them soon after."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            text = self.access_log_file.read_text(errors="replace")
            found[:] = [json.loads(each) for each in text.splitlines() if request_id in each]
            return len(found) >= lines

        self._until(look, f"{lines} lines of {request_id} in its access log")
        return found

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(READY_SECONDS)

    def kill(self) -> None:
        """End it without a chance to say good-bye."""
        self.process.kill()
        self.process.wait(READY_SECONDS)

    def tail(self) -> str:
        """Return the end of its log, for a failed test."""
        return f"--- {self.name}\n{self.log.read_text(errors='replace')[-LOG_TAIL:]}"

    def _wait_for(self, file: Path) -> str:
        self._until(lambda: file.exists() and bool(file.read_text()), "listening")
        return file.read_text()

    def _until(self, condition: Any, what: str) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self.name} is not {what}\n{self.tail()}")
            time.sleep(0.02)
