"""`scopeway serve`: its log when it is ready, and its errors when it cannot start."""

import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.fleet import at, manifest
from harness.http import send
from harness.ports import free_port, free_ports
from harness.stack import Etcd, ServeProcess
from scopeway.control_plane.clouds.document import to_document

GOOD = to_document(manifest("cloud-1", services={"image": {"endpoints": [at(9292)]}}))
ANY_PORTS = ("--xds-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0")


@pytest.fixture
def used_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


class TestRunning:
    """Over a folder of one good and one bad manifest."""

    @pytest.fixture
    def serve(self, tmp_path: Path, write: Callable[..., Path]) -> Iterator[ServeProcess]:
        registry = write("clouds/good.yaml", GOOD).parent
        write("clouds/bad.yaml", {"kind": "Potato"})
        serve = ServeProcess(f"dir:{registry}", tmp_path)
        yield serve.start()
        serve.kill()

    def test_serve_logs_its_registry_its_ports_and_each_refused_entry(
        self, serve: ServeProcess
    ) -> None:
        warning, ready = serve.log().splitlines()
        (refused,) = serve.status()["refused"]

        assert "INFO" in ready
        assert "ready: 1 clouds from dir:" in ready
        assert ready.endswith(
            f"xDS on 127.0.0.1:{serve.xds_port}, admin on 127.0.0.1:{serve.admin_port}"
        )
        assert "bad.yaml:1: apiVersion: is missing" in refused
        assert warning.endswith(refused)
        assert serve.status()["clouds"] == 1
        assert serve.get("/healthz").status == 200

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_serve_ends_with_status_0_on_sigterm_and_sigint(
        self, serve: ServeProcess, number: signal.Signals
    ) -> None:
        lines = serve.log().splitlines()
        serve.signal(number)

        assert serve.wait() == 0
        assert serve.log().splitlines() == lines

    def test_serve_without_a_drain_ends_at_once(
        self, tmp_path: Path, write: Callable[..., Path]
    ) -> None:
        folder = write("clouds/good.yaml", GOOD).parent
        serve = ServeProcess(f"dir:{folder}", tmp_path, "--drain-seconds", "0").start()
        serve.signal(signal.SIGTERM)

        assert serve.wait() == 0


def test_health_and_metrics_have_addresses_of_their_own_that_tell_nothing_else(
    tmp_path: Path, write: Callable[..., Path]
) -> None:
    """Beyond loopback, too, without a flag: neither tells a name."""
    registry = write("clouds/good.yaml", GOOD).parent
    health, metrics = free_ports(2)
    serve = ServeProcess(f"dir:{registry}", tmp_path)
    serve.command += ["--health-listen", f"0.0.0.0:{health}"]
    serve.command += ["--metrics-listen", f"0.0.0.0:{metrics}"]
    serve.start()
    try:
        answers = {
            (name, path): send(port, path, host="scopeway.example")
            for name, port in (("health", health), ("metrics", metrics))
            for path in ("/healthz", "/readyz", "/metrics", "/status", "/release", "/")
        }
        posted = send(health, "/release", method="POST", body=b'{"all": true}')
        ready = serve.log().splitlines()[-1]
    finally:
        serve.kill()

    assert {each for each, answer in answers.items() if answer.status == 200} == {
        ("health", "/healthz"),
        ("health", "/readyz"),
        ("metrics", "/metrics"),
    }
    assert {answer.status for answer in answers.values()} == {200, 404}
    assert posted.status == 404
    assert b"scopeway_clouds 1.0" in answers["metrics", "/metrics"].body
    assert b"cloud-1" not in answers["metrics", "/metrics"].body
    assert ready.endswith(f", health on 0.0.0.0:{health}, metrics on 0.0.0.0:{metrics}")


def test_the_health_address_is_not_ready_before_the_first_listing(tmp_path: Path) -> None:
    port = free_port()
    away = Etcd(tmp_path).url
    serve = ServeProcess(away, tmp_path, "--health-listen", f"127.0.0.1:{port}")
    serve.launch()
    try:
        serve.wait_until(lambda: _answers(port), "the health address answers")
        before = [send(port, path, host="localhost") for path in ("/readyz", "/healthz")]
    finally:
        serve.kill()

    assert [each.status for each in before] == [503, 200]


def test_serve_is_alive_but_not_ready_before_the_first_listing(tmp_path: Path) -> None:
    serve = ServeProcess(Etcd(tmp_path).url, tmp_path)
    serve.launch()
    try:
        serve.wait_until(lambda: _answers(serve.admin_port), "the admin address answers")
        response = serve.get("/readyz")

        assert serve.get("/healthz").status == 200
        assert (response.status, response.body) == (503, b"the registry has not been listed yet\n")
        assert not _answers(serve.xds_port)

        serve.signal(signal.SIGTERM)
        assert serve.wait() == 0
    finally:
        serve.kill()


def test_a_used_xds_port_is_an_error_of_one_sentence(
    tmp_path: Path, write: Callable[..., Path], used_port: int
) -> None:
    """In a process of its own, as gRPC itself would write to standard error."""
    serve = ServeProcess(f"dir:{write('clouds/good.yaml', GOOD).parent}", tmp_path)
    serve.command += ["--xds-listen", f"127.0.0.1:{used_port}"]
    serve.launch()

    assert serve.wait() == 1
    assert serve.log() == (
        f"scopeway: cannot listen on 127.0.0.1:{used_port}: "
        "in use, or not an address of this machine (--xds-listen)\n"
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--registry", "potato"],
            "unsupported registry 'potato'; use dir:<folder>, etcd://host[:port] or kubernetes:",
        ),
        (["--registry", "etcd://x:99999"], "'99999' is not a valid etcd port (1 to 65535)"),
        (
            ["--registry", "dir:/nowhere"],
            "dir:/nowhere cannot be read: No such file or directory",
        ),
        (
            ["--registry", "dir:/", "--state-dir", "/dev/null/state"],
            "the state directory /dev/null/state cannot be used: Not a directory",
        ),
        (
            ["--registry", "dir:/", "--status-namespace", "here"],
            "--status-namespace needs the registry kubernetes:",
        ),
        *(
            (
                ["--registry", "dir:/", option, "127.0.0.1:{used_port}"],
                f"cannot listen on 127.0.0.1:{{used_port}}: Address already in use ({option})",
            )
            for option in ("--admin-listen", "--health-listen", "--metrics-listen")
        ),
    ],
)
def test_errors_of_serve_are_one_sentence_with_status_1(
    scopeway: Callable[..., Any], used_port: int, options: list[str], sentence: str
) -> None:
    words = [each.format(used_port=used_port) for each in options]
    outcome = scopeway("serve", *ANY_PORTS, *words)

    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err == f"scopeway: {sentence.format(used_port=used_port)}\n"


@pytest.mark.parametrize(
    ("listen", "flag", "sentence"),
    [
        ("--xds-listen", "--insecure-xds", "could read the clusters and listeners of every cloud"),
        ("--admin-listen", "--insecure-admin", "could read the names of clouds and Envoys"),
    ],
)
@pytest.mark.parametrize("host", ["192.0.2.1", "0.0.0.0", "[::]", "cp.example"])
def test_serve_listens_unencrypted_beyond_loopback_only_with_a_flag(
    scopeway: Callable[..., Any], host: str, listen: str, flag: str, sentence: str
) -> None:
    """192.0.2.1 is no machine's (RFC 5737): with the flag it is tried, and cannot be had."""
    command = ("serve", "--registry", "dir:/", *ANY_PORTS, listen, f"{host}:0")
    refused = scopeway(*command)

    assert (refused.status, refused.out) == (1, "")
    assert refused.err.startswith(f"scopeway: any client that reaches {host}:0 {sentence}")
    assert flag in refused.err
    if host == "192.0.2.1":
        assert "cannot listen on 192.0.2.1:0: " in scopeway(*command, flag).err


def test_an_unreachable_etcd_is_an_error_without_its_password(tmp_path: Path) -> None:
    away = Etcd(tmp_path).url
    serve = ServeProcess(away.replace("etcd://", "etcd://user:secret@"), tmp_path)
    serve.launch()

    assert serve.wait() == 1
    (line,) = serve.log().splitlines()
    assert line.startswith(f"scopeway: {away}/scopeway cannot be read: ")
    assert "secret" not in line


def _answers(port: int) -> bool:
    try:
        send(port, "/healthz")
    except ConnectionRefusedError:
        return False
    return True


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("cloud-1|", "'cloud-1|': column 9: "),
        ("local", "'local': 'local' is another cloud at each site"),
        ("a & b", "'a & b': the operator '&' selects no clouds to prefetch"),
    ],
)
def test_serve_refuses_a_prefetch_expression_that_selects_nothing(
    scopeway: Callable[..., Any], expression: str, words: str
) -> None:
    outcome = scopeway("serve", "--registry", "dir:.", *ANY_PORTS, "--prefetch", expression)

    assert outcome.status == 2
    assert "--prefetch" in outcome.err
    assert words in outcome.err
