"""Tables of the commands: no text is cut off in a narrow terminal."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from harness.fleet import at, manifest
from scopeway.control_plane.cli.output import LINE, add_row, console, say, table
from scopeway.control_plane.clouds.cordon import Cordon, cordon_document
from scopeway.control_plane.clouds.document import to_document

SERVICES = ("block-storage", "compute", "identity", "image", "network", "placement")


def test_a_piped_list_has_a_line_for_each_cloud(
    scopeway: Callable[..., Any], write: Callable[..., Path]
) -> None:
    services = {name: {"endpoints": [at(9292)]} for name in SERVICES}
    labels = {"region": "eu-west", "owner": "nobody-in-particular", "tier": "edge"}
    folder = write("clouds/a.yaml", to_document(manifest("c" * 63, labels, services=services)))
    lines = scopeway("cloud", "list", "--registry", f"dir:{folder.parent}").out.splitlines()

    assert len(lines) == 2
    assert "c" * 63 in lines[1]
    assert ", ".join(SERVICES) in lines[1]
    assert "owner=nobody-in-particular, region=eu-west, tier=edge" in lines[1]


def test_a_piped_explanation_has_a_line_for_each_field(
    scopeway: Callable[..., Any], write: Callable[..., Path]
) -> None:
    folder = write("clouds/a.yaml", to_document(manifest("cloud-1"))).parent
    name = "c" * 63
    asked = ("--registry", f"dir:{folder}", "--from", "cloud-1", "--scope", f"image:{name}|{name}b")
    outcome = scopeway("explain", *asked, "image")

    assert [line.split()[0] for line in outcome.out.splitlines()] == [
        "target",
        "refused",
        "because",
    ]


def test_a_table_wraps_long_words_in_a_narrow_terminal() -> None:
    shown = table("cloud", "peer")
    shown.add_row("a-cloud-of-a-long-name", "203.0.113.1:8443")
    screen = io.StringIO()
    Console(width=20, file=screen).print(shown)
    rows = screen.getvalue().splitlines()[1:]

    assert "".join(row[:9].strip() for row in rows) == "a-cloud-of-a-long-name"
    assert "".join(row[9:].strip() for row in rows) == "203.0.113.1:8443"


@pytest.mark.parametrize("command", [["cloud", "list"], ["cloud", "get", "cloud-1"]], ids=" ".join)
def test_characters_that_the_output_cannot_encode_are_escaped(
    write: Callable[..., Path], command: list[str]
) -> None:
    mark = cordon_document(Cordon(name="cloud-1", reason="до обеда"))
    folder = write("clouds/a.yaml", to_document(manifest("cloud-1")), mark).parent
    done = subprocess.run(
        [sys.executable, "-m", "scopeway.control_plane", *command, "--registry", f"dir:{folder}"],
        env={**os.environ, "PYTHONIOENCODING": "iso8859-1"},
        capture_output=True,
        check=False,
    )

    assert done.returncode == 0
    assert rb"\u0434\u043e \u043e\u0431" in done.stdout + done.stderr


HOSTILE = "a\x1b[2J\u202eb\r\ud800"


def test_unprintable_characters_are_escaped(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"refused: {HOSTILE}\nanother line", err=True)
    shown = table("a")
    add_row(shown, HOSTILE)
    console().print(shown)
    out, err = capsys.readouterr()

    assert err == "refused: a\\x1b[2J\\u202eb\\r\\ud800\nanother line\n"
    assert "a\\x1b[2J\\u202eb\\r\\ud800" in out


def test_a_long_line_of_output_is_cut(capsys: pytest.CaptureFixture[str]) -> None:
    say("x" * (1 << 20))

    assert len(capsys.readouterr().out) < LINE + 40
