"""A real Envoy as a child process."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from harness.http import Response, send
from harness.process import Process

PROGRAM = Path(
    os.environ.get("SCOPEWAY_TEST_ENVOY") or Path(sys.executable).parent / "envoy"
).absolute()
"""What is tried: the Envoy beside this Python, or another (`make test-envoy`)."""


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


class Envoy(Process):
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
        self.folder = folder
        self.node = str(bootstrap["node"]["id"])
        config, admin = folder / f"{name}.yaml", folder / f"{name}.admin"
        command = [
            *(*before, PROGRAM, "-c", config, "--concurrency", "1", *options),
            *("--admin-address-path", admin, "--file-flush-interval-msec", "20"),
            *("--drain-time-s", str(drain_seconds), "--log-level", "info"),
        ]
        super().__init__(name, command, folder)
        self.output_file = self.access_log_file = folder / f"{name}.access.log"
        address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
        config.write_text(yaml.safe_dump({**bootstrap, "admin": {"address": address}}))
        for file in (admin, self.log_file):  # of an earlier one with this name
            file.unlink(missing_ok=True)
        self.launch()
        self.wait_until(lambda: admin.exists() and admin.read_text(), "its admin interface listens")
        self.admin_port = int(admin.read_text().rpartition(":")[2])

    def wait_ready(self) -> "Envoy":
        """Wait until the listeners are there."""
        self.wait_until(lambda: self.admin("/ready").status == 200, "/ready is 200")
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

    def updates(self) -> dict[str, int]:
        """Return how often it has taken over anything but new clusters, by the statistic."""
        clusters = ("cluster_manager.cluster_modified", "cluster_manager.cluster_removed")
        return {
            name: value
            for name, value in self.stats().items()
            if name in clusters
            or name.startswith("listener_manager.listener_")
            # of routes and filters; that of CDS counts the clusters on demand, too
            or (name.endswith(".config_reload") and not name.startswith("cluster_manager."))
        }

    def access_log(self, request_id: str, lines: int = 1) -> list[dict[str, Any]]:
        """Return the lines of a request, once there are so many; Envoy writes them soon after."""
        found: list[dict[str, Any]] = []

        def look() -> bool:
            text = self.access_log_file.read_text(errors="replace")
            found[:] = [json.loads(each) for each in text.splitlines() if request_id in each]
            return len(found) >= lines

        self.wait_until(look, f"{lines} lines of {request_id} in its access log")
        return found
