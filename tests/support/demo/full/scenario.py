"""What all steps of the demo with whole clouds do: commands, booting, waiting, traces, checks."""

import re
import time
from collections.abc import Collection, Iterable, Sequence

from demo import commands, trace
from demo.commands import COMMAND_SECONDS, Result
from demo.console import Screen
from demo.environment import Stage
from demo.errors import DemoError
from demo.full.environment import FLAVOR
from demo.site import Site
from demo.sites import run_scopeway
from demo.trace import AccessLogs, Hop

FIELDS = ("id", "name", "status", "image")
"""Of the long tables of servers and images, what is shown."""
BOOT_SECONDS = 120.0
POLL_SECONDS = 0.05
_ID = re.compile(r"\b([0-9a-f]{8})(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b")


class Scene:
    """The running clouds as the steps use them."""

    def __init__(self, stage: Stage, screen: Screen) -> None:
        """Traces begin here."""
        self.stage = stage
        self.screen = screen
        self.logs = AccessLogs({site.name: site.access_log for site in stage.sites})

    def site(self, name: str) -> Site:
        """One of the sites."""
        return next(site for site in self.stage.sites if site.name == name)

    def openstack(
        self,
        *arguments: str,
        scope: str | None = None,
        fields: Collection[str] | None = None,
        seconds: float = COMMAND_SECONDS,
        cloud: str = "cloud-1",
    ) -> Result:
        """Runs a command.

        Args:
            cloud: An entry of `clouds.yaml`, whose user runs it; `cloud-1` is alice there.

        Raises:
            DemoError: it failed.
        """
        scoped = () if scope is None else ("--scope", scope)
        result = commands.openstack(
            *(self.stage, self.screen, *arguments, *scoped),
            env={"OS_CLOUD": cloud},
            fields=fields,
            seconds=seconds,
        )
        expect(result.status == 0, f"`openstack {' '.join(arguments[:2])}` failed")
        return result

    def boot(
        self,
        name: str,
        *options: str,
        scope: str | None = None,
        at: str,
        show: Sequence[str] = (),
    ) -> str:
        """Creates a server, waits until it is active and says how long that took.

        Args:
            options: What it boots from, `--image` or `--volume`, and whatever else.
            at: The cloud that must have it, and no other.
            show: Besides `FIELDS`; then the server is shown once more.

        Returns:
            Its id.
        """
        flavor = str(FLAVOR["name"])
        source, more = options[:2], options[2:]
        scoped = () if scope is None else ("--scope", scope)
        began = time.monotonic()
        # the scope before the name, as the command has been written from the start
        result = self.openstack(
            *("server", "create", *source, "--flavor", flavor, *more, *scoped, name),
            fields=FIELDS,
        )
        server = commands.field_values(result.output).get("id", "")
        self.wait_for(server, at, "active")
        seconds = time.monotonic() - began
        self.screen.output(f"ACTIVE at {at}, {seconds:.1f} s after the command was typed")
        others = [site.name for site in self.stage.sites if site.name != at]
        for cloud in others:
            expect(self.state(server, cloud) == "", f"{cloud} has the server {name!r} too")
        if show:
            self.openstack("server", "show", server, scope=scope, fields=(*FIELDS, *show))
        return server

    def state(self, wanted: str, cloud: str, *, kind: str = "server") -> str:
        """What a cloud's Nova, or Cinder for a `volume`, has in its database; "" for nothing."""
        assert self.stage.state is not None
        return self.stage.state(kind, cloud, wanted)

    def wait_for(self, wanted: str, cloud: str, state: str, *, kind: str = "server") -> None:
        """Returns once a server, or volume, is in a state, such as `active`.

        Raises:
            DemoError: it has an error instead, or it took too long.
        """
        deadline = time.monotonic() + BOOT_SECONDS
        while (now := self.state(wanted, cloud, kind=kind)) != state:
            if now.startswith("error") or time.monotonic() > deadline:
                raise DemoError(f"the {kind} {wanted} at {cloud} is {now!r}, not {state!r}")
            time.sleep(POLL_SECONDS)

    def explain(self, scope: str, service: str) -> str:
        """Shows what `scopeway explain` says of a service in a scope, and returns it."""
        arguments = ("explain", "--from", "cloud-1", "--scope", scope, service)
        self.screen.command(commands.quoted("scopeway", *arguments))
        said = run_scopeway(*arguments, "--registry", self.stage.plane.registry)
        self.screen.output(said)
        return said

    def trace(self, *, everything: bool = False) -> list[Hop]:
        """Shows who asked whom since the last trace.

        Args:
            everything: Also what a cloud answered itself, except validations of tokens.

        Returns:
            The hops that are shown.
        """
        hops = [hop for hop in self.logs.news() if hop.at_front]
        own = [hop for hop in hops if hop.served_by == hop.site]
        validations = [hop for hop in own if _validates(hop)]
        left_out = validations if everything else own
        shown = [hop for hop in hops if hop not in left_out]
        if not everything:
            self.screen.say("what went to another cloud:")
        self.screen.table(trace.COLUMNS, _with_short_ids(trace.rows(shown)))
        if everything:
            count = len(validations)
            self.screen.say(f"and {count} validations of tokens by the asking cloud's own Keystone")
        return shown


def _validates(hop: Hop) -> bool:
    return hop.path.endswith("/v3/auth/tokens") and hop.method in ("GET", "HEAD")


def _with_short_ids(rows: Iterable[tuple[str, ...]]) -> list[tuple[str, ...]]:
    return [tuple(_ID.sub(r"\1…", cell) for cell in row) for row in rows]


def expect(condition: bool, otherwise: str) -> None:
    """A check of a step.

    Raises:
        DemoError: the condition doesn't hold.
    """
    if not condition:
        raise DemoError(f"not as expected: {otherwise}")
