"""`scopeway bootstrap`: the configuration with which a site's Envoy starts."""

import os
import socket
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.envoy import PROGRAM
from harness.process import Process
from identity_files import in_folder
from scopeway.control_plane.identity.authority import AuthorityFolder
from scopeway.control_plane.translator.bootstrap import PRESSURE_SCALE, resource_monitor


@pytest.mark.envoy
@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--xds", "10.0.0.1:18000", "--xds", "[fd00::1]:18000"),
        ("--xds", "control-plane.example:18000", "--instance", "second"),
        ("--admin", "unix:envoy.sock", "--access-log", "/dev/null"),
        ("--collector", "/run/scopeway"),
    ],
    ids=" ".join,
)
def test_envoy_accepts_the_printed_bootstrap(
    scopeway: Callable[..., Any], tmp_path: Path, options: tuple[str, ...]
) -> None:
    outcome = scopeway("bootstrap", "cloud-1", *options)
    file = tmp_path / "envoy.yaml"
    file.write_text(outcome.out)
    command = [str(PROGRAM), "--mode", "validate", "-c", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    assert (outcome.status, outcome.err) == (0, "")
    assert done.returncode == 0, done.stderr
    assert "OK" in done.stdout


def test_bootstrap_has_the_heap_size_of_the_option(scopeway: Callable[..., Any]) -> None:
    outcome = scopeway("bootstrap", "cloud-1", "--max-heap-size", "512MiB")

    monitor = resource_monitor(yaml.safe_load(outcome.out), "fixed_heap")
    assert monitor["max_heap_size_bytes"] == (512 << 20) * PRESSURE_SCALE


@pytest.mark.parametrize(
    ("size", "problem"),
    [
        ("2", "'2' is no size; write it as 512MiB or 4GiB"),
        ("2GB", "'2GB' is no size; write it as 512MiB or 4GiB"),
        ("-1GiB", "'-1GiB' is no size; write it as 512MiB or 4GiB"),
        ("64MiB", "'64MiB' is too little: an Envoy needs 256MiB or more"),
    ],
)
def test_a_malformed_heap_size_is_bad_usage(
    scopeway: Callable[..., Any], size: str, problem: str
) -> None:
    outcome = scopeway("bootstrap", "cloud-1", f"--max-heap-size={size}")

    assert outcome.status == 2
    assert problem in outcome.err


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ((), None),
        (("--collector", "/run/scopeway"), "/run/scopeway"),
        (("--collector", "/run/scopeway/"), "/run/scopeway"),
        (("--collector", "/" + "a" * 91), "/" + "a" * 91),
    ],
)
def test_bootstrap_names_the_folder_of_the_collector(
    scopeway: Callable[..., Any], folder: tuple[str, ...], said: str | None
) -> None:
    printed = yaml.safe_load(scopeway("bootstrap", "cloud-1", *folder).out)

    assert printed["node"]["metadata"]["scopeway"].get("collector") == said


@pytest.mark.parametrize(
    ("folder", "problem"),
    [
        ("run", "'run': it is not an absolute path"),
        ("@scopeway", "'@scopeway': it is not an absolute path"),
        ("/" + "a" * 92, "it has more than 92 bytes, so no socket fits in it"),
        ("/run/\n", "it has characters that cannot be printed"),
    ],
)
def test_a_folder_that_no_socket_fits_in_is_bad_usage(
    scopeway: Callable[..., Any], folder: str, problem: str
) -> None:
    outcome = scopeway("bootstrap", "cloud-1", "--collector", folder)

    assert outcome.status == 2
    assert problem in " ".join(outcome.err.split())


def test_a_cache_of_validations_needs_a_collector(scopeway: Callable[..., Any]) -> None:
    outcome = scopeway("bootstrap", "cloud-1", "--cache-validations")

    assert (outcome.status, outcome.out) == (2, "")
    assert "--cache-validations needs a collector: --collector FOLDER" in outcome.err


def test_bootstrap_names_the_cloud_and_every_control_plane(scopeway: Callable[..., Any]) -> None:
    outcome = scopeway(
        *("bootstrap", "cloud-1", "--instance", "b", "--admin", "127.0.0.1:19001"),
        *("--xds", "10.0.0.1:18000", "--xds", "10.0.0.2:18001"),
    )
    printed = yaml.safe_load(outcome.out)
    (cluster,) = printed["static_resources"]["clusters"]
    (locality,) = cluster["load_assignment"]["endpoints"]

    assert (printed["node"]["id"], printed["node"]["cluster"]) == ("cloud-1/b", "cloud-1")
    assert [each["endpoint"]["address"]["socket_address"] for each in locality["lb_endpoints"]] == [
        {"address": "10.0.0.1", "port_value": 18000},
        {"address": "10.0.0.2", "port_value": 18001},
    ]
    assert printed["admin"]["address"] == {
        "socket_address": {"address": "127.0.0.1", "port_value": 19001}
    }


@pytest.mark.envoy
def test_envoy_admin_interface_has_no_address_by_default(
    scopeway: Callable[..., Any], tmp_path: Path
) -> None:
    """So no request can be sent there over the network; `curl --abstract-unix-socket` reads it."""
    cloud = f"cloud-{os.getpid()}"
    config = tmp_path / "envoy.yaml"
    config.write_text(scopeway("bootstrap", cloud, "--instance", "i" * 80).out)
    command = [PROGRAM, "-c", config, "--disable-hot-restart", "--concurrency", "1"]
    envoy = Process("envoy", command, tmp_path)
    with socket.socket(socket.AF_UNIX) as admin:
        envoy.launch()
        try:
            envoy.wait_until(lambda: _connects(admin, cloud), "its admin interface answers")
            admin.sendall(b"GET /listeners HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = admin.makefile("rb").read()
            listening = _listens_on_tcp(envoy.pid)
        finally:
            envoy.kill()

    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert listening == 0


def _connects(admin: socket.socket, cloud: str) -> bool:
    try:
        admin.connect(f"\0scopeway/{cloud}/{'i' * 80}"[:107])
    except OSError:
        return False
    return True


def _listens_on_tcp(pid: int) -> int:
    """The number of TCP sockets on which a process listens."""
    open_files = {os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir()}
    tables = [Path("/proc/net", each).read_text().splitlines()[1:] for each in ("tcp", "tcp6")]
    sockets = [line.split() for table in tables for line in table]
    listening = "0A"
    return sum(f"socket:[{each[9]}]" in open_files for each in sockets if each[3] == listening)


def test_bootstrap_prints_the_written_files_and_the_next_command(
    scopeway: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "a b"
    outcome = scopeway("bootstrap", "cloud-1", "--output", folder)

    assert (outcome.status, outcome.out) == (0, "")
    assert outcome.err.splitlines() == [
        f"wrote envoy.yaml in {folder}",
        f"next: envoy -c '{folder}/envoy.yaml'",
    ]
    assert yaml.safe_load((folder / "envoy.yaml").read_text())["node"]["cluster"] == "cloud-1"


TLS = ("--tls-cert", "/etc/s/tls.crt", "--tls-key", "/etc/s/tls.key", "--tls-ca", "/etc/s/ca.crt")


class TestMutualTls:
    """With --tls-…: three files, for a channel on which both sides prove who they are."""

    def test_bootstrap_with_mutual_tls_writes_the_files_that_name_the_certificates(
        self, scopeway: Callable[..., Any], tmp_path: Path
    ) -> None:
        outcome = scopeway(
            *("bootstrap", "cloud-1", *TLS, "--trust-domain", "edge.example"),
            *("--output", tmp_path / "out", "--sds-dir", "/etc/envoy"),
        )
        written = {
            each.name: yaml.safe_load(each.read_text()) for each in (tmp_path / "out").iterdir()
        }
        (cluster,) = written["envoy.yaml"]["static_resources"]["clusters"]
        context = cluster["transport_socket"]["typed_config"]["common_tls_context"]
        validation = context["combined_validation_context"]
        (certificate,) = written["identity.yaml"]["resources"]
        (authorities,) = written["authorities.yaml"]["resources"]

        assert (outcome.status, outcome.out) == (0, "")
        assert outcome.err.splitlines() == [
            f"wrote envoy.yaml, identity.yaml, authorities.yaml in {tmp_path / 'out'}",
            "bring identity.yaml and authorities.yaml to /etc/envoy",
            f"next: envoy -c {tmp_path / 'out' / 'envoy.yaml'}",
        ]
        assert validation["default_validation_context"]["match_typed_subject_alt_names"] == [
            {"san_type": "URI", "matcher": {"exact": "spiffe://edge.example/control-plane"}}
        ]
        for secret in (
            *context["tls_certificate_sds_secret_configs"],
            validation["validation_context_sds_secret_config"],
        ):
            name = f"/etc/envoy/{secret['name']}.yaml"
            assert secret["sds_config"]["path_config_source"] == {"path": name}
        assert certificate["tls_certificate"]["private_key"] == {"filename": "/etc/s/tls.key"}
        assert authorities["validation_context"]["trusted_ca"] == {"filename": "/etc/s/ca.crt"}
        assert written["envoy.yaml"]["node"]["metadata"]["scopeway"]["identity"] == {
            "certificate": "/etc/s/tls.crt",
            "key": "/etc/s/tls.key",
            "authorities": "/etc/s/ca.crt",
        }

    @pytest.mark.envoy
    def test_envoy_accepts_a_bootstrap_with_mutual_tls(
        self, scopeway: Callable[..., Any], tmp_path: Path
    ) -> None:
        authority = AuthorityFolder.create(
            tmp_path, "scopeway", now=datetime.now(UTC), lifetime=timedelta(days=1)
        )
        holder = authority.holder("cloud-1")
        authority.issue(holder, now=datetime.now(UTC), lifetime=timedelta(hours=1))
        files = in_folder(holder.folder)
        scopeway(
            *("bootstrap", "cloud-1", "--output", tmp_path, "--tls-cert", files.certificate),
            *("--tls-key", files.key, "--tls-ca", files.authorities),
        )
        command = [str(PROGRAM), "--mode", "validate", "-c", str(tmp_path / "envoy.yaml")]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

        assert done.returncode == 0, done.stderr

    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            (TLS, "there are three files to write: --output FOLDER"),
            (TLS[:2], "--tls-cert, --tls-key and --tls-ca go together"),
        ],
    )
    def test_bootstrap_names_the_missing_mutual_tls_options(
        self, scopeway: Callable[..., Any], options: tuple[str, ...], sentence: str
    ) -> None:
        outcome = scopeway("bootstrap", "cloud-1", *options)

        assert outcome.status == 2
        assert sentence in outcome.err
