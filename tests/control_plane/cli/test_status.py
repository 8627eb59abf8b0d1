"""`scopeway status` and `scopeway cloud release`, with admin addresses served by the tests."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness.ports import free_ports
from harness.process import until
from scopeway.control_plane.admin.pages import status_page
from scopeway.control_plane.admin.server import PageServer

STREAM = {
    "node": "cloud-1/a",
    "cloud": "cloud-1",
    "instance": "a",
    "version": "envoy/1.40.0",
    "peer": "ipv4:127.0.0.1:1",
    "connected_seconds": 150.0,
    "targets": 3,
    "acked": 12,
    "nacked": {},
    "lag_seconds": 0,
    "types": {},
}
STATUS = {
    "scopeway": "0.1.0",
    "registry": "etcd://127.0.0.1:2379",
    "clouds": 40,
    "revision": 7,
    "stale": None,
    "lag_seconds": 0,
    "refused": [],
    "held": {},
    "service_types": [],
    "undeclared_service_types": [],
    "cordoned": {},
    "policies_too_large": {},
    "streams": [STREAM],
}

Serve = Callable[..., str]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Answer with a status, and take the release of clouds; return the URL."""
    with ExitStack() as closing:

        def serve(status: Mapping[str, Any] = STATUS, **more: Any) -> str:
            held = {**status, **more}["held"]

            def release(command: Mapping[str, Any]) -> Mapping[str, Any]:
                wanted = list(held) if command.get("all") else command["clouds"]
                return {"released": [name for name in wanted if name in held], "not_held": []}

            server = PageServer(
                ("127.0.0.1", 0),
                status_page(lambda: {**status, **more}),
                commands={"/release": release},
                option="--admin-listen",
            )
            server.start()
            closing.callback(server.close)
            return f"http://127.0.0.1:{server.port}"

        yield serve


def test_each_envoy_is_a_line_of_status(scopeway: Callable[..., Any], serve: Serve) -> None:
    outcome = scopeway("status", "--admin", serve())
    head, columns, line = outcome.out.splitlines()

    assert (outcome.status, outcome.err) == (0, "")
    assert head.endswith("scopeway 0.1.0, 40 clouds from etcd://127.0.0.1:2379, 1 Envoys")
    assert columns.split()[:3] == ["cloud", "instance", "version"]
    assert line.split() == ["cloud-1", "a", "envoy/1.40.0", "2", "min", "3", "12", "-", "-"]


def test_status_says_what_each_envoy_has_while_the_registry_is_unreachable(
    scopeway: Callable[..., Any], serve: Serve
) -> None:
    states = [("unknown", 5, 0), ("keeps", 3, 2), ("sent", 0, 7), ("unchanged", 0, 0)]
    streams = [
        {**STREAM, "instance": str(number), "stale": state, "kept": kept, "sent_stale": sent}
        for number, (state, kept, sent) in enumerate(states)
    ]
    lines = scopeway("status", "--admin", serve(streams=streams)).out.splitlines()

    assert lines[1].split()[-1] == "stale"
    assert [line.partition(" - ")[2].strip(" -") for line in lines[2:]] == [
        "cloud unknown, 5 kept",
        "3 kept, 2 sent",
        "7 sent",
        "unchanged",
    ]


def test_status_names_sites_whose_policy_is_too_large_with_the_reason(
    scopeway: Callable[..., Any], serve: Serve
) -> None:
    admin = serve(policies_too_large={"cloud-2": "its accept rules come to too much"})

    lines = scopeway("status", "--admin", admin).out.splitlines()
    assert lines[1] == "  let nobody in: cloud-2 (its accept rules come to too much)"


def test_status_reports_service_types_that_are_not_declared(
    scopeway: Callable[..., Any], serve: Serve
) -> None:
    admin = serve(undeclared_service_types=[f"no such service: 's-{n}'" for n in range(12)])

    lines = scopeway("status", "--admin", admin).out.splitlines()
    assert lines[1] == "  not served: no such service: 's-0'"
    assert lines[11] == "  and 2 more service types that are not declared"


def test_status_shows_problems_above_the_table_and_rejections_in_the_line_of_the_envoy(
    scopeway: Callable[..., Any], serve: Serve
) -> None:
    nacked = {**STREAM, "nacked": {"image@cloud-2": "[bold] no\x1b[2J such"}, "lag_seconds": 3.25}
    admin = serve(
        stale="etcd is away",
        lag_seconds=180,
        held={f"cloud-{n}": f"/clouds/cloud-{n}" for n in range(20, 40)},
        refused=["/clouds/cloud-20: lost", *(f"/clouds/bad-{n}: is bad" for n in range(12))],
        cordoned={"cloud-9": "new disks", "cloud-8": ""},
        streams=[nacked],
    )
    lines = scopeway("status", "--admin", admin).out.splitlines()

    assert lines[1] == "  stale: etcd is away (for 3 min)"
    assert lines[2].startswith("  held after a mass loss: cloud-20, cloud-21, ")
    assert lines[2].endswith("cloud-29 and 10 more; `scopeway cloud release` releases them")
    assert lines[3] == "  cordoned: cloud-9 (new disks), cloud-8"
    assert lines[4] == "  refused: /clouds/bad-0: is bad"
    assert lines[14] == "  and 2 more refused entries"
    # what an Envoy says is no markup, and no terminal sequence
    assert "image@cloud-2: [bold] no\\x1b[2J such" in lines[-1]
    assert lines[-1].split()[-2:] == ["3.2", "s"]


def test_status_sorts_envoys_by_cloud_and_instance_and_shows_rejections_in_red(
    scopeway: Callable[..., Any], serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    envoys = [("cloud-2", "a"), ("cloud-1", "b"), ("cloud-1", "a")]
    streams = [{**STREAM, "cloud": cloud, "instance": instance} for cloud, instance in envoys]
    streams[1]["nacked"] = {"image@cloud-9": "no"}
    lines = scopeway("status", "--admin", serve(streams=streams)).out.splitlines()[2:]
    red = "\x1b[31m"

    assert [line.startswith(red) for line in lines] == [False, True, False]
    plain = [line.replace(red, "").replace("\x1b[0m", "") for line in lines]
    assert [tuple(line.split()[:2]) for line in plain] == sorted(envoys)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (9.94, "9.9 s"),
        (10, "10 s"),
        (119.9, "120 s"),
        (120, "2 min"),
        (7_199, "120 min"),
        (7_200, "2 h"),
        (172_800, "2 d"),
    ],
)
def test_status_shows_a_duration_in_one_unit(
    scopeway: Callable[..., Any], serve: Serve, seconds: float, shown: str
) -> None:
    admin = serve(streams=[{**STREAM, "connected_seconds": seconds}])

    assert f"1.40.0  {shown}  " in scopeway("status", "--admin", admin).out


class Screen:
    """`scopeway status --watch` in a terminal."""

    def __init__(self, *options: str, columns: int = 200, lines: int = 24) -> None:
        self._screen, its_own = pty.openpty()
        os.set_blocking(self._screen, False)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scopeway.control_plane", "status", "--watch", "0.2", *options],
            stdout=its_own,
            env={**os.environ, "COLUMNS": str(columns), "LINES": str(lines), "TERM": "xterm"},
        )
        os.close(its_own)
        self._shown = b""

    def __enter__(self) -> "Screen":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._screen)

    def until_it_shows(self, wanted: str) -> None:
        until(lambda: wanted in self._read(), "it shows what is now")

    def last_whole(self) -> list[str]:
        """Return the lines of a whole screen."""
        home = "\x1b[H"
        until(lambda: self._read().count(home) > 2, "it shows all anew")
        return self._read().split(home)[-2].splitlines()

    def interrupt(self) -> int:
        self._process.send_signal(signal.SIGINT)
        return self._process.wait()

    def _read(self) -> str:
        with suppress(BlockingIOError):
            self._shown += os.read(self._screen, 1 << 16)
        return self._shown.decode(errors="replace")


@pytest.mark.parametrize(
    ("options", "text"), [((), "{} clouds from"), (("--format", "json"), '"clouds": {},')]
)
def test_status_watch_refreshes_the_screen(
    serve: Serve, options: tuple[str, ...], text: str
) -> None:
    clouds = {"clouds": 40}
    with Screen(*options, "--admin", serve(ChainMap(clouds, STATUS))) as screen:
        for clouds["clouds"] in (40, 41, 42):
            screen.until_it_shows(text.format(clouds["clouds"]))

        assert screen.interrupt() == 0


def test_status_watch_without_a_terminal_prints_plain_blocks(serve: Serve, tmp_path: Path) -> None:
    shown = tmp_path / "shown"
    command = [sys.executable, "-m", "scopeway.control_plane", "status", "--watch", "0.2"]
    with shown.open("wb") as file:
        process = subprocess.Popen([*command, "--admin", serve()], stdout=file)
    try:
        until(lambda: shown.read_text().count("\n\n") > 1, "two blocks are there")
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()
    first, second, *_ = shown.read_text().split("\n\n")

    assert "\x1b" not in first
    assert first.startswith("http://")
    assert first.splitlines()[1].startswith("cloud ")
    assert [line.split()[0] for line in first.splitlines()] == [
        line.split()[0] for line in second.splitlines()
    ]


@pytest.mark.parametrize("columns", [100, 40])
def test_status_watch_shows_rejections_first_on_a_small_screen(serve: Serve, columns: int) -> None:
    streams = [{**STREAM, "cloud": f"cloud-{number:02}"} for number in range(60)]
    streams[58]["lag_seconds"] = 4.0
    streams[59]["nacked"] = {"x": "no"}
    with Screen("--admin", serve(streams=streams), columns=columns) as screen:
        lines = screen.last_whole()
    names = [each.group() for each in re.finditer(r"cloud-\d\d|d-\d\d", "\n".join(lines))]

    assert len(lines) <= 24
    assert names[:3] == [names[0][:-2] + number for number in ("58", "59", "00")]
    assert f"{60 - len(names)} Envoys have no room here" in "\n".join(lines)


def test_status_asks_every_control_plane_and_reports_an_unreachable_one(
    scopeway: Callable[..., Any], serve: Serve
) -> None:
    one, other = serve(), serve(streams=[{**STREAM, "cloud": "cloud-2"}])
    away = f"127.0.0.1:{free_ports(1)[0]}"
    options = [word for admin in (one, other, away) for word in ("--admin", admin)]
    table = scopeway("status", *options)
    document = scopeway("status", *options, "--format", "json")

    assert table.status == document.status == 1
    assert table.out.splitlines()[-2].split()[0] == "cloud-1"
    assert table.out.splitlines()[-1].split()[0] == "cloud-2"
    assert table.out.splitlines()[-1].endswith(other)
    assert f"no control plane answers at {away}: Connection refused (--admin)" in table.out
    found = json.loads(document.out)
    assert found[one] == STATUS
    assert set(found[away]) == {"error"}


class Potato(BaseHTTPRequestHandler):
    """Something else that speaks HTTP."""

    body = b""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"{}"])
def test_status_reports_a_server_that_is_no_control_plane(
    scopeway: Callable[..., Any], body: bytes
) -> None:
    handler = type("Handler", (Potato,), {"body": body})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        admin = f"http://127.0.0.1:{server.server_port}"
        outcome = scopeway("status", "--admin", admin)
        thread.join()

    assert outcome.status == 1
    assert f"what answers at {admin} is not a control plane of Scopeway" in outcome.out


@pytest.mark.parametrize(
    ("admin", "words"),
    [
        ("ftp://127.0.0.1:1", "'ftp://127.0.0.1:1' is not the URL of an admin address"),
        ("http://127.0.0.1:x", "no control plane answers at http://127.0.0.1:x: "),
    ],
)
def test_a_bad_admin_url_is_an_error_of_one_sentence(
    scopeway: Callable[..., Any], admin: str, words: str
) -> None:
    outcome = scopeway("status", "--admin", admin)

    assert outcome.status == 1
    assert words in outcome.out
    assert "Traceback" not in outcome.err


def test_release_asks_every_control_plane(scopeway: Callable[..., Any], serve: Serve) -> None:
    one, other = serve(held={"cloud-8": "/8", "cloud-9": "/9"}), serve(held={"cloud-9": "/9"})
    admins = ("--admin", one, "--admin", other)
    some = scopeway("cloud", "release", *admins, "cloud-9", "cloud-7")
    every = scopeway("cloud", "release", *admins, "--all")

    assert some.status == 1
    assert some.out == f"cloud-9 released by {one}\ncloud-9 released by {other}\n"
    assert some.err == "scopeway: not held: cloud-7\n"
    assert every.status == 0
    assert every.out.splitlines()[0] == f"cloud-8 released by {one}"


@pytest.mark.parametrize("arguments", [[], ["--all", "cloud-9"]])
def test_release_needs_names_or_all(
    scopeway: Callable[..., Any], serve: Serve, arguments: list[str]
) -> None:
    outcome = scopeway("cloud", "release", "--admin", serve(), *arguments)

    assert outcome.status == 2
    assert "name clouds, or pass --all" in outcome.err


def test_status_shows_only_the_clouds_that_are_named(
    scopeway: Callable[..., Any], serve: Serve
) -> None:
    admin = serve(streams=[{**STREAM, "cloud": f"cloud-{number}"} for number in range(4)])
    outcome = scopeway("status", "--admin", admin, "--format", "json", "cloud-1", "cloud-3")

    shown = json.loads(outcome.out)[admin]["streams"]
    assert [each["cloud"] for each in shown] == ["cloud-1", "cloud-3"]
