"""`scopeway status`: what running control planes and their Envoys are doing."""

import json
import sys
import time
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from scopeway.control_plane.cli.options import Decorator, admin_option, format_option
from scopeway.control_plane.cli.output import LINE, add_row, console, table
from scopeway.control_plane.collections.listing import listed
from scopeway.control_plane.errors import ControlPlaneError
from scopeway.xds.text import shown

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

SHOWN = 10
"""Lines of one kind, of clouds or problems; `--format json` has them all."""

Status = Mapping[str, Any]
"""Of one control plane, as `control_plane.admin.status` makes it; {"error": why} where none
answers."""
Row = tuple[Mapping[str, Any], str]
"""An Envoy, and the admin address of its control plane."""
_COUNTS = (("kept", "kept"), ("sent_stale", "sent"))


watch_option: Decorator = click.option(
    "--watch",
    "seconds",
    type=click.FloatRange(min=0.2),
    is_flag=False,
    flag_value=2.0,
    metavar="[SECONDS]",
    help="Refresh every 2 seconds, or every SECONDS, until interrupted.",
)


@click.command()
@admin_option
@watch_option
@format_option
@click.argument("clouds", nargs=-1)
def status(
    admins: tuple[str, ...], seconds: float | None, output: str, clouds: tuple[str, ...]
) -> None:
    """Show what each Envoy, or those of CLOUDS, uses and refuses.

    Asks the admin address of each control plane. Above the table it reports a registry that cannot
    be read, clouds that are held or cordoned, refused entries, and missing service types.

    \b
        scopeway status --admin 10.0.0.1:18002 --admin 10.0.0.2:18002 --watch

    Exit status 1 if one of them does not answer.
    """
    show_status({each: each for each in admins}, seconds, output, clouds)


def show_status(
    admins: Mapping[str, str], seconds: float | None, output: str, clouds: Collection[str]
) -> None:
    """Print what control planes say. Exits with status 1 if one of them does not answer.

    Args:
        admins: The URL of each admin address, by its name for people.
        seconds: Between two refreshes; None: print once.
        output: "table" or "json".
        clouds: Whose Envoys are shown; empty: all.
    """
    if seconds is None:
        found = _ask(admins, clouds)
        _show(found, output)
        if any("error" in each for each in found.values()):
            sys.exit(1)
        return
    with suppress(KeyboardInterrupt):
        _watch(lambda: _ask(admins, clouds), seconds, output)


def _watch(ask: Callable[[], Mapping[str, Status]], seconds: float, output: str) -> None:
    to = console()
    if output == "json" or not to.is_terminal:
        while True:
            _show(ask(), output)
            if output != "json":
                click.echo()  # between one block and the next
            sys.stdout.flush()
            time.sleep(seconds)
    from rich.live import Live

    with Live(_fitting(ask(), to), console=to, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(seconds)
            live.update(_fitting(ask(), to), refresh=True)


def _fitting(found: Mapping[str, Status], to: "Console") -> "RenderableType":
    """Return as many Envoys as the terminal has room for, since a live screen cuts off the rest."""
    rows = sorted(_rows(found), key=_is_well)
    whole = _screen(found)

    def height(shown: "RenderableType") -> int:
        return len(to.render_lines(shown, pad=False))

    if not rows or (len(rows) < to.height and height(whole) <= to.height):
        return whole

    def some(count: int) -> "RenderableType":
        left = len(rows) - count
        word = f"{left} Envoys have no room here; those that refuse or owe something stand first"
        return _screen(found, rows[:count], word)

    fits = bisect_right(range(1, to.height), to.height, key=lambda count: height(some(count)))
    return some(fits)


def _ask(admins: Mapping[str, str], clouds: Collection[str]) -> Mapping[str, Status]:
    from scopeway.control_plane.cli.admin_client import get_status

    found: dict[str, Status] = {}
    for admin, url in admins.items():
        try:
            whole = get_status(url)
            streams = [each for each in whole["streams"] if not clouds or each["cloud"] in clouds]
            found[admin] = {**whole, "streams": streams}
        except ControlPlaneError as error:
            found[admin] = {"error": str(error)}
    return found


def _show(found: Mapping[str, Status], output: str) -> None:
    if output == "json":
        click.echo(json.dumps(found))
        return
    console().print(_screen(found))


def _screen(
    found: Mapping[str, Status], rows: Sequence[Row] | None = None, left_out: str = ""
) -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    lines = [
        Text.assemble(*((shown(text, LINE), style) for text, style in line))
        for admin, each in found.items()
        for line in _summary(admin, each)
    ]
    if all("error" in each for each in found.values()):
        return Group(*lines)
    if left_out:
        lines.append(Text(left_out, style="bold"))
    return Group(*lines, _envoys(_rows(found) if rows is None else rows, several=len(found) > 1))


def _summary(admin: str, status: Status) -> Iterator[list[tuple[str, str]]]:
    if "error" in status:
        yield [(status["error"], "bold red")]
        return
    yield [
        (admin, "bold"),
        (
            f"  scopeway {status['scopeway']}, {status['clouds']} clouds from "
            f"{status['registry']}, {len(status['streams'])} Envoys",
            "",
        ),
    ]
    if status["stale"]:
        yield [
            ("  stale: ", "bold red"),
            (f"{status['stale']} (for {_duration(status['lag_seconds'])})", ""),
        ]
    held = list(status["held"])
    if held:
        yield [
            ("  held after a mass loss: ", "bold red"),
            (f"{listed(held, SHOWN)}; `scopeway cloud release` releases them", ""),
        ]
    cordoned = [f"{name} ({why})" if why else name for name, why in status["cordoned"].items()]
    if cordoned:
        yield [("  cordoned: ", "bold"), (listed(cordoned, SHOWN), "")]
    too_large = [f"{site} ({why})" for site, why in status.get("policies_too_large", {}).items()]
    if too_large:
        yield [("  let nobody in: ", "bold red"), (listed(too_large, SHOWN), "")]
    problems = [each for each in status["refused"] if not _is_held(each, status)]
    for problem in problems[:SHOWN]:
        yield [("  refused: ", "bold red"), (problem, "")]
    if problems[SHOWN:]:
        yield [(f"  and {len(problems) - SHOWN} more refused entries", "")]
    undeclared = status.get("undeclared_service_types", [])
    for sentence in undeclared[:SHOWN]:
        yield [("  not served: ", "bold red"), (sentence, "")]
    if undeclared[SHOWN:]:
        yield [(f"  and {len(undeclared) - SHOWN} more service types that are not declared", "")]


def _rows(found: Mapping[str, Status]) -> list[Row]:
    rows = [(each, admin) for admin, status in found.items() for each in status.get("streams", ())]
    return sorted(rows, key=lambda row: (row[0]["cloud"], row[0]["instance"]))


def _is_well(row: Row) -> bool:
    return not row[0]["nacked"] and not row[0]["lag_seconds"]


def _envoys(rows: Sequence[Row], *, several: bool) -> "RenderableType":
    columns = ("cloud", "instance", "version", "connected", "targets", "acked", "nacked", "lag")
    stale = any(each.get("stale") for each, _ in rows)
    optional = [*(["stale"] if stale else []), *(["control plane"] if several else [])]
    envoys = table(*columns, *optional)
    for each, admin in rows:
        nacked = each["nacked"]
        cells = (
            each["cloud"],
            each["instance"] or "-",
            each["version"] or "-",
            _duration(each["connected_seconds"]),
            str(each["targets"]),
            str(each["acked"]),
            "; ".join(f"{name}: {why}" for name, why in list(nacked.items())[:SHOWN]) or "-",
            _duration(each["lag_seconds"]) if each["lag_seconds"] else "-",
            *([_stale(each)] if stale else []),
            *([admin] if several else []),
        )
        add_row(envoys, *cells, style="red" if nacked else None)
    return envoys


def _stale(stream: Mapping[str, Any]) -> str:
    """Return what an Envoy has of a control plane that cannot read its registry."""
    if not stream.get("stale"):
        return "-"
    words = ["cloud unknown"] if stream["stale"] == "unknown" else []
    words += [f"{stream[key]} {word}" for key, word in _COUNTS if stream.get(key)]
    return ", ".join(words) or "unchanged"


def _is_held(problem: str, status: Status) -> bool:
    return any(problem.startswith(f"{place}: ") for place in status["held"].values())


def _duration(seconds: float) -> str:
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
