"""Programs that users may want (`programs/`), written from docs/xds alone; run with real Envoys."""

import json
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

import grpc
import pytest
import yaml

from harness.background import Background
from harness.echo import Echo
from harness.envoy import Envoy, xds_cluster
from harness.http import Response, send
from harness.ports import free_port
from harness.process import until
from scopeway.control_plane.identity import certificates

pytestmark = pytest.mark.envoy

DOCS = Path(__file__).parents[3] / "docs" / "xds" / "how-to"
PROGRAMS = Path(__file__).with_name("programs")
GUARD = 30.0
ADS = {"ads": {}, "resource_api_version": "V3"}
SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


@dataclass(frozen=True)
class Program:
    process: "subprocess.Popen[str]"
    output_file: Path
    port: int

    def output(self) -> str:
        return self.output_file.read_text()

    def enter(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def wait_for(self, text: str) -> None:
        until(lambda: text in self.output(), text, log=self.output)


@contextmanager
def running(name: str, folder: Path, *arguments: object) -> Iterator[Program]:
    """Run a program; afterwards, end it if it has not ended, and expect status 0."""
    file = folder / f"{name}.out"
    command = [sys.executable, PROGRAMS / name, "--listen", "127.0.0.1:0", *map(str, arguments)]
    with (
        file.open("w") as output,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        try:
            serving = re.compile(r"serving on port (\d+)")
            until(lambda: serving.search(file.read_text()), "it serves", log=file.read_text)
            found = serving.search(file.read_text())
            assert found is not None
            yield Program(process, file, int(found[1]))
            process.communicate("\n" * 5, timeout=GUARD)
        finally:
            process.kill()
    assert process.returncode == 0, file.read_text()


@contextmanager
def envoy(folder: Path, bootstrap: dict[str, Any]) -> Iterator[Envoy]:
    started = Envoy(bootstrap, folder, bootstrap["node"]["id"])
    try:
        yield started
    finally:
        started.stop()


def bootstrap(
    port: int, node_id: str, cluster: str, api_type: str = "DELTA_GRPC"
) -> dict[str, Any]:
    ads = {
        "api_type": api_type,
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
    }
    return {
        "node": {"id": node_id, "cluster": cluster},
        "dynamic_resources": {"ads_config": ads, "cds_config": ADS, "lds_config": ADS},
        "static_resources": {"clusters": [xds_cluster(port)]},
    }


def yaml_of(page: str, *replaced: tuple[str, str]) -> dict[str, Any]:
    """The part of a bootstrap that a page shows."""
    text = (DOCS / page).read_text().split("```yaml\n")[1].split("```")[0]
    for old, new in replaced:
        text = text.replace(old, new)
    part: dict[str, Any] = yaml.safe_load(text)
    return part


def clusters(envoy: Envoy) -> list[str]:
    dump = envoy.admin("/config_dump?resource=dynamic_active_clusters").json
    return sorted(each["cluster"]["name"] for each in dump.get("configs", []))


@pytest.fixture
def services() -> Iterator[dict[str, int]]:
    """The ports of two services, which answer with their names."""
    with closing(Background()) as background:
        echoes = [Echo(name).start(background) for name in ("blue", "green")]
        yield {each.name: each.port for each in echoes}
        for each in echoes:
            each.stop(background)


@contextmanager
def asking(*ports: int) -> Iterator[dict[int, list[str]]]:
    """Send requests to each port all the time; yields who answered, or the status of a failure."""
    seen: dict[int, list[str]] = {port: [] for port in ports}
    stop = Event()

    def ask(port: int) -> None:
        while not stop.is_set():
            seen[port].append(who(send(port, "/")))

    threads = [Thread(target=ask, args=[port]) for port in ports]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def who(response: Response) -> str:
    return str(response.json["name"] if response.status == 200 else response.status)


@pytest.mark.parametrize(
    ("api_type", "options"),
    [("DELTA_GRPC", ["--at-once"]), ("DELTA_GRPC", []), ("GRPC", [])],
    ids=["delta at once", "delta", "state of the world"],
)
def test_canaries_move_first_and_no_request_fails(
    api_type: str, options: list[str], tmp_path: Path, services: dict[str, int]
) -> None:
    canary, stable = free_port(), free_port()
    arguments = ["--blue", services["blue"], "--green", services["green"]]
    arguments += ["--canary", canary, "--stable", stable, *options]
    with (
        running("blue_green.py", tmp_path, *arguments) as program,
        envoy(tmp_path, bootstrap(program.port, "c-1", "canary", api_type)) as canary_envoy,
        envoy(tmp_path, bootstrap(program.port, "s-1", "stable", api_type)) as stable_envoy,
        envoy(tmp_path, bootstrap(program.port, "o-1", "other", api_type)) as other_envoy,
    ):
        for each, port in ((canary_envoy, canary), (stable_envoy, stable)):
            each.wait_ready()
            each.wait_until(lambda port=port: who(send(port, "/")) == "blue", "blue answers")
        with asking(canary, stable) as seen:
            program.enter()
            program.wait_for("canary is on green")
            assert who(send(canary, "/")) == "green"
            assert set(seen[stable]) == {"blue"}
            program.enter()
            program.wait_for("stable is on green")
            assert who(send(stable, "/")) == "green"
            for each in (canary_envoy, stable_envoy):
                each.wait_until(lambda each=each: clusters(each) == ["green"], "blue is gone")

        assert set(seen[canary]) == set(seen[stable]) == {"blue", "green"}
        other_envoy.wait_until(
            lambda: "'other', not one of canary, stable" in other_envoy.log(), "it is refused"
        )


def on_demand(port: int, listener: int) -> dict[str, Any]:
    """An Envoy that asks for the cluster that the header x-cluster names."""
    types = "type.googleapis.com/envoy.extensions.filters"
    route = {"match": {"prefix": "/"}, "route": {"cluster_header": "x-cluster"}}
    manager = {
        "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "web",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        **yaml_of("on-demand.md"),
    }
    config = bootstrap(port, "edge-1", "edges")
    del config["dynamic_resources"]["cds_config"], config["dynamic_resources"]["lds_config"]
    config["static_resources"]["listeners"] = [
        {
            "name": "web",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": listener}},
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }
    ]
    return config


def test_clusters_come_from_a_database_when_a_request_needs_them(
    tmp_path: Path, services: dict[str, int]
) -> None:
    listener, file = free_port(), tmp_path / "clusters.db"

    def ask(cluster: str) -> str:
        return who(send(listener, "/", [("x-cluster", cluster)]))

    with (
        running("clusters_from_sqlite.py", tmp_path, file) as program,
        closing(sqlite3.connect(file, isolation_level=None)) as database,
        envoy(tmp_path, on_demand(program.port, listener)) as edge,
    ):
        edge.wait_ready()
        for name in ("web", "unused"):
            database.execute(
                "INSERT INTO clusters VALUES (?, '127.0.0.1', ?)", [name, services["blue"]]
            )
        assert ask("web") == "blue"
        assert ask("later") == "503"  # at once: the client is told that there is none

        database.execute("UPDATE clusters SET port = ? WHERE name = 'web'", [services["green"]])
        edge.wait_until(lambda: ask("web") == "green", "the changed row is in use")
        database.execute(
            "INSERT INTO clusters VALUES ('later', '127.0.0.1', ?)", [services["blue"]]
        )
        edge.wait_until(lambda: ask("later") == "blue", "the new row is in use")
        database.execute("DELETE FROM clusters WHERE name = 'web'")
        edge.wait_until(lambda: clusters(edge) == ["later"], "the removed row is gone")

    assert "unused" not in program.output()


class Fleet:
    """The certificates of a fleet."""

    def __init__(self, folder: Path) -> None:
        self.tls = folder / "tls"
        self.tls.mkdir()
        now = datetime.now(UTC)
        authority = certificates.make_authority(
            "fleet.example", now=now, lifetime=timedelta(days=1)
        )
        (self.tls / "ca.crt").write_bytes(authority.pem)
        self._issue = partial(certificates.issue, authority, now=now, lifetime=timedelta(hours=1))
        self.renew()
        self.client = self._issue("edge-1")
        (folder / "client.crt").write_bytes(self.client.certificate)
        (folder / "client.key").write_bytes(self.client.key)

    def renew(self) -> str:
        """Give the server another certificate; returns it."""
        issued = self._issue(None, addresses=["127.0.0.1", "xds.example.org"])
        (self.tls / "tls.crt").write_bytes(issued.certificate)
        (self.tls / "tls.key").write_bytes(issued.key)
        return issued.certificate.decode()

    def channel(self, port: int) -> grpc.Channel:
        credentials = grpc.ssl_channel_credentials(
            (self.tls / "ca.crt").read_bytes(), self.client.key, self.client.certificate
        )
        return grpc.secure_channel(f"127.0.0.1:{port}", credentials)

    def bootstrap(self, port: int, node_id: str) -> dict[str, Any]:
        """An Envoy with the certificate of edge-1."""
        config = bootstrap(port, node_id, "edges")
        folder = self.tls.parent
        socket = yaml_of(
            "tls.md", ("client.", f"{folder}/client."), ("ca.crt", f"{self.tls}/ca.crt")
        )
        config["static_resources"]["clusters"][0] |= socket
        return config


def shown_certificate(port: int) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", port), GUARD) as plain,
        context.wrap_socket(plain) as connection,
    ):
        found = connection.getpeercert(binary_form=True)
        assert found is not None
        return ssl.DER_cert_to_PEM_cert(found)


def test_a_fleet_server_serves_each_node_its_own_and_stops_gracefully(tmp_path: Path) -> None:
    fleet, listener = Fleet(tmp_path), free_port()
    nodes = tmp_path / "fleet.json"
    nodes.write_text(json.dumps({"edge-1": listener, "edge-2": free_port()}))
    prefix = "spiffe://fleet.example/cloud/"
    arguments = [nodes, "--tls", fleet.tls, "--prefix", prefix, "--drain", "0.1"]
    with (
        running("fleet_server.py", tmp_path, *arguments) as program,
        envoy(tmp_path, fleet.bootstrap(program.port, "edge-1")) as edge,
        envoy(tmp_path, fleet.bootstrap(program.port, "edge-2")) as impostor,
        fleet.channel(program.port) as channel,
    ):
        edge.wait_ready()
        edge.wait_until(lambda: send(listener, "/").body == b"hello edge-1\n", "its listener")
        refusal = f"the certificate of edge-2 bears ('{prefix}edge-1',), not {prefix}edge-2"
        impostor.wait_until(lambda: refusal in impostor.log(), "it is refused")
        program.enter()
        program.wait_for('"node": "edge-1"')
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=GUARD)
        assert next(watch) == SERVING
        renewed = fleet.renew()
        assert shown_certificate(program.port) in renewed

        program.process.send_signal(signal.SIGTERM)

        assert next(watch) == NOT_SERVING
        program.wait_for("stopped")
        assert program.process.wait(GUARD) == 0
        assert send(listener, "/").body == b"hello edge-1\n"  # what an Envoy has, it keeps

    (line,) = re.findall(r"^\[{.*$", program.output(), re.MULTILINE)
    (stream,) = json.loads(line)
    listeners = stream["types"]["type.googleapis.com/envoy.config.listener.v3.Listener"]
    assert listeners == {"acked": 1, "in_flight": 0, "rejected": {}}
