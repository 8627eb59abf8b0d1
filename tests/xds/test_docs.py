"""The programs in docs/xds, run as they stand but for the ports, with real Envoys as clients."""

import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from harness.envoy import Envoy, xds_cluster
from harness.ports import free_port
from scopeway.control_plane.identity import certificates

pytestmark = pytest.mark.envoy

DOCS = Path(__file__).parents[2] / "docs" / "xds"
GUARD = 30.0
ADS = {"ads": {}, "resource_api_version": "V3"}
PAGES = sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


def blocks(page: str, language: str = "python") -> list[str]:
    """The blocks of a language on a page."""
    text = (DOCS / page).read_text()
    return [each.split("```")[0] for each in text.split(f"```{language}\n")[1:]]


def bootstrap(port: int, **node: Any) -> dict[str, Any]:
    ads = {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
    }
    return {
        "node": {"id": "edge-1", "cluster": "site", **node},
        "dynamic_resources": {"ads_config": ads, "cds_config": ADS},
        "static_resources": {"clusters": [xds_cluster(port)]},
    }


def clusters(envoy: Envoy) -> dict[str, str]:
    """The connect_timeout of each cluster that came over xDS."""
    dump = envoy.admin("/config_dump?resource=dynamic_active_clusters").json
    found = [each["cluster"] for each in dump.get("configs", [])]
    return {each["name"]: each.get("connect_timeout", "") for each in found}


def names(envoy: Envoy) -> list[str]:
    return sorted(clusters(envoy))


def load(envoy: Envoy) -> str:
    """The value of the runtime key of the xDS server."""
    entries: dict[str, Any] = envoy.admin("/runtime").json["entries"]
    return str(entries.get("load", {}).get("final_value", ""))


def refused(envoy: Envoy) -> bool:
    return "is of no kind that is served" in envoy.log()


def wait_for(look: Callable[[Envoy], object], envoy: Envoy, expected: object) -> None:
    give_up = time.monotonic() + GUARD
    while (found := look(envoy)) != expected:
        assert time.monotonic() < give_up, found
        time.sleep(0.02)


@contextmanager
def run(program: str, folder: Path, **ports: int) -> Iterator[tuple[int, Callable[[], None]]]:
    """Run a program; yields its port, and what types Enter."""
    port = free_port()
    assert "127.0.0.1:18000" in program
    file = folder / "program.py"
    file.write_text(program.replace("127.0.0.1:18000", f"127.0.0.1:{port}"))
    with subprocess.Popen(
        [sys.executable, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder
    ) as server:

        def enter() -> None:
            assert server.stdin is not None
            server.stdin.write("\n")
            server.stdin.flush()

        try:
            yield port, enter
        finally:
            out, _ = server.communicate("\n\n", timeout=GUARD)
            (folder / "program.out").write_text(out)
    assert server.returncode == 0


@contextmanager
def serving(text: str) -> Iterator[int]:
    """An HTTP service that answers every request with a text; yields its port."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_tutorial_moves_the_traffic_from_blue_to_green(tmp_path: Path) -> None:
    (program,), (config,) = blocks("tutorial.md"), blocks("tutorial.md", "yaml")
    front = free_port()
    with ExitStack() as stack:
        for number, colour in ((9001, "blue"), (9002, "green")):
            port = stack.enter_context(serving(f"{colour}\n"))
            program = program.replace(str(number), str(port))
        program = program.replace("address(10000)", f"address({front})")
        port, enter = stack.enter_context(run(program, tmp_path))
        envoy = Envoy(yaml.safe_load(config.replace("18000", str(port))), tmp_path)
        stack.callback(envoy.stop)

        def answer(_: Envoy) -> str:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{front}", timeout=GUARD) as reply:
                    return str(reply.read().decode())
            except OSError as error:
                return str(error)

        wait_for(answer, envoy, "blue\n")
        enter()
        seen = set()

        def moved(envoy: Envoy) -> str:
            seen.add(answer(envoy))
            return answer(envoy)

        wait_for(moved, envoy, "green\n")
        wait_for(names, envoy, ["green"])

        assert seen <= {"blue\n", "green\n"}  # no request failed


def test_a_snapshot_for_a_node(tmp_path: Path) -> None:
    with run(blocks("how-to/per-node.md")[0], tmp_path) as (port, enter), ExitStack() as stack:
        envoy = Envoy(bootstrap(port), tmp_path)
        stack.callback(envoy.stop)
        wait_for(names, envoy, ["a", "b"])
        enter()
        wait_for(names, envoy, ["a"])


def test_a_snapshot_for_a_group(tmp_path: Path) -> None:
    layers = [{"name": "flags", "rtds_layer": {"name": "flags", "rtds_config": ADS}}]
    with run(blocks("how-to/per-node.md")[1], tmp_path) as (port, enter), ExitStack() as envoys:

        def start(kind: str) -> Envoy:
            config = bootstrap(port, id=kind, metadata={"kind": kind})
            del config["dynamic_resources"]["cds_config"]
            envoy = Envoy({**config, "layered_runtime": {"layers": layers}}, tmp_path, kind)
            envoys.callback(envoy.stop)
            return envoy

        edge, worker, other = start("edge"), start("worker"), start("other")
        wait_for(load, edge, "10")
        wait_for(load, worker, "20")
        enter()
        wait_for(load, edge, "15")
        assert load(worker) == "20"
        wait_for(refused, other, True)


@pytest.mark.parametrize("api_type", ["DELTA_GRPC", "GRPC"])
def test_a_move_in_two_steps(tmp_path: Path, api_type: str) -> None:
    with run(blocks("how-to/per-node.md")[2], tmp_path) as (port, enter), ExitStack() as stack:
        config = bootstrap(port)
        config["dynamic_resources"]["ads_config"]["api_type"] = api_type
        envoy = Envoy(config, tmp_path)
        stack.callback(envoy.stop)
        wait_for(names, envoy, ["blue"])
        enter()
        wait_for(names, envoy, ["green"])


@pytest.mark.parametrize("api_type", ["DELTA_GRPC", "GRPC"])
def test_clusters_of_a_database(tmp_path: Path, api_type: str) -> None:
    with run(blocks("how-to/on-demand.md")[0], tmp_path) as (port, enter), ExitStack() as stack:
        config = bootstrap(port)
        config["dynamic_resources"]["ads_config"]["api_type"] = api_type
        envoy = Envoy(config, tmp_path)
        stack.callback(envoy.stop)
        wait_for(clusters, envoy, {"a": "5s", "b": "5s"})
        enter()
        wait_for(clusters, envoy, {"a": "9s", "b": "5s"})


@pytest.mark.parametrize("api_type", ["DELTA_GRPC", "GRPC"])
def test_the_program_from_go_control_plane(tmp_path: Path, api_type: str) -> None:
    program = blocks("how-to/from-go-control-plane.md")[0]
    with run(program, tmp_path) as (port, enter), ExitStack() as stack:
        config = bootstrap(port)
        config["dynamic_resources"]["ads_config"]["api_type"] = api_type
        envoy = Envoy(config, tmp_path)
        stack.callback(envoy.stop)
        wait_for(names, envoy, ["a"])
        enter()
        wait_for(names, envoy, ["b"])


def test_the_program_about_operating_shows_its_streams(tmp_path: Path) -> None:
    def connected(envoy: Envoy) -> float:
        name = "control_plane.connected_state"
        return envoy.stats(name)[name]

    with run(blocks("how-to/operating.md")[0], tmp_path) as (port, enter), ExitStack() as stack:
        envoy = Envoy(bootstrap(port), tmp_path)
        stack.callback(envoy.stop)
        wait_for(names, envoy, ["a"])
        enter()
        wait_for(connected, envoy, 0)

    assert "edge-1 [1]" in (tmp_path / "program.out").read_text()


def test_a_client_of_the_program_with_tls_has_the_snapshot_of_its_identity(tmp_path: Path) -> None:
    now, folder = datetime.now(UTC), tmp_path / "tls"
    authority = certificates.make_authority("example.org", now=now, lifetime=timedelta(days=1))
    issue = partial(certificates.issue, authority, now=now, lifetime=timedelta(hours=1))
    server, client = issue(None, addresses=["127.0.0.1"]), issue("edge")
    folder.mkdir()
    for name, content in (
        *(("tls.crt", server.certificate), ("tls.key", server.key), ("ca.crt", authority.pem)),
        *(("client.crt", client.certificate), ("client.key", client.key)),
    ):
        (folder / name).write_bytes(content)
    program = blocks("how-to/tls.md")[0].replace("example.org/edge", "example.org/cloud/edge")
    with run(program, tmp_path) as (port, _), ExitStack() as stack:
        config = bootstrap(port, id="somebody else")
        pem = {"certificate_chain": "client.crt", "private_key": "client.key"}
        context = {
            "@type": "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3"
            ".UpstreamTlsContext",
            "common_tls_context": {
                "tls_certificates": [
                    {key: {"filename": str(folder / file)} for key, file in pem.items()}
                ],
                "validation_context": {"trusted_ca": {"filename": str(folder / "ca.crt")}},
            },
        }
        socket = {"name": "tls", "typed_config": context}
        config["static_resources"]["clusters"][0]["transport_socket"] = socket
        envoy = Envoy(config, tmp_path)
        stack.callback(envoy.stop)

        wait_for(names, envoy, ["a"])


@pytest.mark.parametrize(
    ("page", "number"),
    [
        ("how-to/on-demand.md", 1),
        ("how-to/testing.md", 0),
        ("how-to/without-grpc.md", 0),
    ],
)
def test_a_program_without_a_network_does_what_it_asserts(page: str, number: int) -> None:
    program = blocks(page)[number]

    assert "assert " in program
    subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", "-c", program], check=True, timeout=GUARD
    )


def test_every_program_is_run() -> None:
    counts = {page: len(blocks(page)) for page in PAGES if page != "reference.md"}

    assert {page: count for page, count in counts.items() if count} == {
        "tutorial.md": 1,
        "how-to/per-node.md": 3,
        "how-to/on-demand.md": 2,
        "how-to/from-go-control-plane.md": 1,
        "how-to/operating.md": 1,
        "how-to/testing.md": 1,
        "how-to/tls.md": 1,
        "how-to/without-grpc.md": 1,
    }


@pytest.mark.parametrize("page", PAGES)
def test_a_program_imports_the_library_once(page: str) -> None:
    if page != "reference.md":
        for program in blocks(page):
            found = re.findall(r"^(?:from|import) .*scopeway.*$", program, re.MULTILINE)
            assert found == ["from scopeway import xds"]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_to_a_file(page: str) -> None:
    folder = (DOCS / page).parent
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", (DOCS / page).read_text()):
        if "://" not in link:
            assert os.path.exists(folder / link), link
