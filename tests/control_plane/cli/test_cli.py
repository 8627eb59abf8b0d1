"""The command as a whole: help, version, bad usage."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click
import pytest

from scopeway.control_plane.cli import cli


def commands(group: click.Group, *above: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        yield (*above, name)
        if isinstance(command, click.Group):
            yield from commands(command, *above, name)


@pytest.mark.parametrize("command", [(), *commands(cli)], ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help_of_every_command_is_complete_on_80_columns(
    scopeway: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    command: tuple[str, ...],
    option: str,
) -> None:
    """On 80 columns no mark of click is left, no word is cut, no sentence of a list ends early."""
    monkeypatch.setenv("COLUMNS", "80")
    outcome = scopeway(*command, option)
    lines = outcome.out.splitlines()
    urls = [line for line in lines if "://" in line]

    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith(" ".join(["Usage: scopeway", *command]))
    assert not [char for char in outcome.out if not char.isprintable() and char != "\n"]
    assert "\\b" not in outcome.out
    assert not [line for line in lines[1:] if line.endswith("...")]
    assert not re.search(r" _[A-Z]", outcome.out)
    if "--registry" in outcome.out:
        assert any("etcd://[user:password@]host:port[,host:port]" in line for line in urls)


def test_commands_in_help_are_printed_on_lines_of_their_own(scopeway: Callable[..., Any]) -> None:
    """They are not wrapped, so that they can be copied."""
    shown = scopeway("bootstrap", "--help").out

    assert (
        "      scopeway bootstrap cloud-1 --xds 10.0.0.1:18000 --xds 10.0.0.2:18000 \\\n"
        "          --tls-cert /etc/scopeway/tls/tls.crt --tls-key /etc/scopeway/tls/tls.key \\\n"
    ) in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["clowd"], "clowd"),
        (["serve"], "SCOPEWAY_REGISTRY"),
        (["serve", "--registry", "dir:.", "--xds-listen", "18000"], "'18000' is not host:port"),
        (["serve", "--registry", "dir:.", "--xds-listen", "x:y"], "'y' in 'x:y' is not a port"),
        (["serve", "--registry", "dir:.", "--admin-listen", "x:70000"], "'70000'"),
        (["serve", "--registry", "dir:.", "--xds-listen", "10.0.0.1"], "'10.0.0.1' is not host:p"),
        (["serve", "--registry", "dir:.", "--xds-listen", "http://a:1"], "'http://a:1' is a URL"),
        (["serve", "--registry", "dir:.", "--admin-listen", "::1"], "write IPv6 as [::1]:18000"),
        (["serve", "--registry", "dir:.", "--admin-listen", "::1:2"], "write IPv6 as [::1:2]:1"),
        (["serve", "--registry", "dir:.", "--xds-listen", "[::1]"], "'[::1]' is not host:port"),
        (["serve", "--registry", "dir:.", "--xds-listen", "[::1]:"], "'' in '[::1]:' is not a p"),
        (["serve", "--registry", "dir:.", "--xds-listen", "[10.0.0.1]:1"], "brackets are for IPv6"),
        (["serve", "--registry", "dir:.", "--xds-listen", "a b:1"], "'a b' in 'a b:1' is not an"),
        (["serve", "--registry", "dir:.", "--xds-listen", "127.1:1"], "write it as four numbers"),
        (["serve", "--registry", "dir:.", "--direct", "10.0.0.1/8"], "has host bits set"),
        (["serve", "--registry", "dir:.", "--direct", "10.0.0.0/33"], "10.0.0.0/33"),
        (["serve", "--registry", "dir:.", "--direct", "a/b"], "is not a network, an IP address or"),
        (["serve", "--registry", "dir:.", "--status-namespace", "Here"], "'Here' is not a name of"),
        (["serve", "--registry", "dir:.", "--replica", "a.b"], "'a.b' is not a name of"),
        (["serve", "--registry", "dir:.", "--replica", "x" * 201], "at most 200 lower case"),
        (["serve", "--registry", "dir:.", "--disconnected-after", "0"], "--disconnected-after"),
        (["bootstrap", "cloud-1", "--admin", "nowhere"], "'nowhere' is not host:port"),
        (["bootstrap", "cloud-1", "--admin", "unix:"], "'unix:' names no socket"),
        (["bootstrap", "cloud-1", "--admin", "unix:@"], "'unix:@' names no socket"),
        (["bootstrap", "Cloud 1"], "is not a name"),
        (["bootstrap", "cloud-1", "--xds", "x:0"], "'x:0' names no port"),
        (["bootstrap", "cloud-1", "--xds", "http://x:1"], "'http://x:1' is a URL"),
        (["bootstrap", "cloud-1", "--xds", "0.0.0.0:1"], "can be listened on but not connected to"),
        (["bootstrap", "cloud-1", "--xds", "[::]:1"], "can be listened on but not connected to"),
        (["demo"], "No such command 'demo'"),
        (["bootstrap", "cloud-1", "--xds", "x:-1"], "'-1' in 'x:-1' is not a port"),
        (["cloud", "put", "--registry", "dir:.", "missing.yaml"], "missing.yaml"),
        (["cloud", "put", "--registry", "dir:.", "--ttl", "0", __file__], "--ttl"),
    ],
)
def test_bad_usage_is_status_2_and_names_what_is_wrong(
    scopeway: Callable[..., Any], arguments: list[str], words: str
) -> None:
    outcome = scopeway(*arguments)

    assert (outcome.status, outcome.out) == (2, "")
    assert words in outcome.err


@pytest.mark.parametrize(
    "arguments", [["bootstrap", "cloud-1", "--output"], ["ca", "init", "--dir"]], ids=" ".join
)
def test_a_path_that_cannot_be_written_is_an_error_of_one_sentence(
    scopeway: Callable[..., Any], arguments: list[str]
) -> None:
    outcome = scopeway(*arguments, "/dev/null/folder")

    assert (outcome.status, outcome.out) == (1, "")
    assert outcome.err.startswith("scopeway: /dev/null/folder")
    assert outcome.err.endswith(": Not a directory\n")
    assert len(outcome.err.splitlines()) == 1


def test_small_commands_import_neither_grpc_nor_envoy_types() -> None:
    program = (
        "import sys\n"
        "from scopeway.control_plane.cli import main\n"
        "try: main(['serve', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'grpc', 'envoy_data_plane', 'lark', 'aetcd', 'rich'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stdout.splitlines()[-1] == "[]", done.stderr
