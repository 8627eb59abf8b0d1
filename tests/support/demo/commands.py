"""The client's side of the demo: the `openstack` command and curl, shown as a person types them."""

import json
import shlex
import shutil
import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from demo.console import Screen
from demo.environment import Stage
from demo.errors import DemoError
from harness.http import request
from harness.process import clean_environment

COMMAND_SECONDS = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a command ended."""

    status: int
    output: str
    """What it printed, standard output before standard error."""


def openstack(
    stage: Stage,
    screen: Screen,
    *arguments: str,
    env: Mapping[str, str] | None = None,
    fields: Collection[str] | None = None,
    seconds: float = COMMAND_SECONDS,
) -> Result:
    """Runs and shows an `openstack` command.

    Args:
        env: Variables in front of the command; None chooses cloud-1 of `clouds.yaml`.
        fields: What is shown of an answer that is one thing's long table; None shows any answer
            as it is.
        seconds: How long it may take.

    Raises:
        DemoError: it didn't end in time.
    """
    shown = {"OS_CLOUD": "cloud-1"} if env is None else dict(env)
    screen.command(" ".join([*_assignments(shown), quoted("openstack", *arguments)]))
    with screen.working():
        env = stage.client_environment(**shown)
        result = _run([str(stage.client), *arguments], env, seconds=seconds)
    found = field_values(result.output)
    if fields is None or not found:
        screen.output(result.output)
    else:
        kept = [(name, value) for name, value in found.items() if name in fields]
        screen.table(("Field", "Value"), [*kept, ("…", "")])
    return result


def run_quietly(stage: Stage, *arguments: str) -> Result:
    """Runs an `openstack` command at cloud-1 and shows nothing of it.

    Raises:
        DemoError: it didn't end in time.
    """
    return _run([str(stage.client), *arguments], stage.client_environment(OS_CLOUD="cloud-1"))


def field_values(output: str) -> dict[str, str]:
    """What `openstack` shows of one thing, in a table of fields and values; {} for other output."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in output.splitlines()
        if line.startswith("|")
    ]
    if not rows or rows[0] != ["Field", "Value"]:
        return {}
    return {row[0]: "|".join(row[1:]) for row in rows[1:]}


def fetch(url: str, headers: Mapping[str, str], screen: Screen) -> dict[str, object]:
    """GETs a JSON object with curl, or without it where the machine has none.

    Long header values are shown shortened.

    Raises:
        DemoError: the answer is none.
    """
    options = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    shown = [
        part for name, value in headers.items() for part in ("-H", f"{name}: {_shortened(value)}")
    ]
    screen.command(quoted("curl", "--silent", *shown, url))
    if shutil.which("curl") is None:
        screen.say("(this machine has no curl: the same request, sent by Python)")
        output = request("GET", url, headers=headers).body.decode(errors="replace")
    else:
        output = _run(["curl", "--silent", *options, url], clean_environment()).output
    try:
        answer = json.loads(output)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise DemoError(f"no JSON object from {url}: {output!r}")
    return answer


def quoted(*arguments: str) -> str:
    """A command line as a person would type it."""
    # double quotes, as the documents write scopes; shlex would take single ones
    return " ".join(
        argument if shlex.quote(argument) == argument else f'"{argument}"' for argument in arguments
    )


def _run(command: list[str], env: Mapping[str, str], *, seconds: float = COMMAND_SECONDS) -> Result:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            env=dict(env),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise DemoError(f"{command[0]}: no end after {seconds:.0f} s") from None
    return Result(status=done.returncode, output=done.stdout + done.stderr)


def _assignments(variables: Mapping[str, str]) -> list[str]:
    return [f"{name}={quoted(value)}" for name, value in variables.items()]


def _shortened(value: str) -> str:
    return value if len(value) <= 60 else f"{value[:12]}…{value[-36:]}"
