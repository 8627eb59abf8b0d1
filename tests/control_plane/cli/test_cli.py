"""The command as a whole: help, version, bad usage."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

COMMANDS = [
    ("serve",),
    ("bootstrap",),
    ("explain",),
    ("demo",),
    ("cloud",),
    ("cloud", "put"),
    ("cloud", "get"),
    ("cloud", "list"),
    ("cloud", "delete"),
]


@pytest.mark.parametrize("command", [(), *COMMANDS], ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_explains_itself(
    scopeway: Callable[..., Any], command: tuple[str, ...], option: str
) -> None:
    outcome = scopeway(*command, option)

    assert (outcome.status, outcome.err) == (0, "")
    assert outcome.out.startswith(" ".join(["Usage: scopeway", *command]))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["clowd"], "clowd"),
        (["serve"], "SCOPEWAY_REGISTRY"),
        (["serve", "--registry", "dir:.", "--xds-listen", "18000"], "'18000' is not host:port"),
        (["serve", "--registry", "dir:.", "--xds-listen", "x:y"], "'y' in 'x:y' is not a port"),
        (["serve", "--registry", "dir:.", "--admin-listen", "x:70000"], "'70000'"),
        (["bootstrap", "cloud-1", "--admin", "nowhere"], "'nowhere' is not host:port"),
        (["bootstrap", "Cloud 1"], "is not a name"),
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


def test_small_commands_do_not_wait_for_grpc_and_envoy_types() -> None:
    program = (
        "import sys\n"
        "from control_plane.cli import main\n"
        "try: main(['serve', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'grpc', 'envoy_data_plane', 'lark', 'aetcd', 'rich'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stdout.splitlines()[-1] == "[]", done.stderr
