"""What a scope costs: the time to boot with and without it, and a token's validation.

Everything runs on one machine, so there is no distance between the clouds: the figures are what
Envoys, Lua and the other cloud's services take.
"""

import statistics
import time
from collections.abc import Callable

from demo import commands
from demo.full.environment import FLAVOR, IMAGES
from demo.full.scenario import Scene, expect
from demo.openstack import log_in
from demo.openstack_files import MEMBER, PROJECT
from harness.http import request

SCOPE = "{keystone:cloud-1;glance:cloud-999}"
BOOTS = 3
VALIDATIONS = 40


def tell(scene: Scene) -> None:
    """Measures and shows; boots with and without a scope take turns."""
    plain: list[float] = []
    scoped: list[float] = []
    for number in range(BOOTS):
        plain.append(_boot(scene, f"plain-{number}", IMAGES["cloud-1"], None))
        scoped.append(_boot(scene, f"scoped-{number}", "cirros", SCOPE))
    rows = [
        _row("boot without a scope: command to ACTIVE", plain),
        _row("boot with it", scoped),
        *(_row(name, _validations(ask)) for name, ask in _ways(scene)),
    ]
    scene.screen.table(("what", "median", "least", "most"), rows)


def _boot(scene: Scene, name: str, image: str, scope: str | None) -> float:
    flavor = str(FLAVOR["name"])
    scoped = () if scope is None else ("--scope", scope)
    began = time.monotonic()
    result = commands.run_quietly(
        scene.stage,
        *("server", "create", "--image", image, "--flavor", flavor, *scoped, name),
    )
    expect(result.status == 0, f"`server create` failed: {result.output}")
    server = commands.field_values(result.output)["id"]
    scene.wait_for(server, "cloud-1", "active")
    return time.monotonic() - began


def _ways(scene: Scene) -> list[tuple[str, Callable[[], int]]]:
    """Ways of having a token validated, as cloud-999's services do it."""
    home, away = scene.site("cloud-1"), scene.site("cloud-999")
    own = log_in(f"{away.front_url}/identity/v3", user=MEMBER, project=PROJECT)
    bare = log_in(f"{home.front_url}/identity/v3", user=MEMBER, project=PROJECT)
    foreign = log_in(f"{home.front_url}/identity/v3", user=MEMBER, project=PROJECT, scope=SCOPE)

    def asks(url: str, token: str) -> Callable[[], int]:
        headers = {"X-Auth-Token": token, "X-Subject-Token": token}
        return lambda: request("GET", f"{url}/v3/auth/tokens", headers=headers).status

    return [
        ("validation by Keystone itself, no Envoy", asks(home.keystone_url, bare)),
        ("of an own token, through the front", asks(f"{away.front_url}/identity", own)),
        ("of another cloud's token", asks(f"{away.front_url}/identity", foreign)),
    ]


def _validations(ask: Callable[[], int]) -> list[float]:
    expect(ask() == 200, "a token was not validated")
    times = []
    for _ in range(VALIDATIONS):
        began = time.monotonic()
        status = ask()
        times.append(time.monotonic() - began)
        expect(status == 200, f"a token was not validated: status {status}")
    return times


def _row(what: str, seconds: list[float]) -> tuple[str, ...]:
    return (
        what,
        *(_text(value) for value in (statistics.median(seconds), min(seconds), max(seconds))),
    )


def _text(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"
