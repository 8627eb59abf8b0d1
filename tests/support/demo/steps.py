"""The six steps of the demo: each shows something and fails unless it is as it should be."""

import json
import threading
import time
from collections.abc import Iterable
from urllib.parse import quote

from demo import commands, trace
from demo.console import Screen
from demo.environment import IMAGES, Stage
from demo.errors import DemoError
from demo.openstack import log_in
from demo.openstack_files import MEMBER, PROJECT
from demo.sites import borrowed_manifest, register
from demo.trace import AccessLogs, Hop
from harness.http import request

SCOPE = "{keystone:cloud-1;glance:cloud-3}"
ALL = "{glance: cloud-1 & cloud-2 & cloud-3}"
NEW_CLOUD = "cloud-9"
LENDER = "cloud-2"
"""The cloud whose services `NEW_CLOUD` points at."""
POLL_SECONDS = 0.002
LONGEST_WAIT_SECONDS = 30.0


def tell(stage: Stage, screen: Screen) -> None:
    """Runs the six steps.

    Raises:
        DemoError: an answer wasn't the expected one.
    """
    logs = AccessLogs({site.name: site.access_log for site in stage.sites})
    with screen.step("1. No scope: cloud-1 asks its own Glance, which has no image"):
        _list_images(stage, screen, expected=None)
        _show_trace(screen, logs)
    with screen.step("2. With a scope: the images of cloud-3, for a user of cloud-1"):
        _list_images(stage, screen, "--scope", SCOPE, expected="cirros")
        hops = _show_trace(screen, logs)
        _expect_foreign_validation(hops)
        screen.say("cloud-3's Glance had the token validated by cloud-1's Keystone.")
    with screen.step("3. The same without our plug-in"):
        _plain_clients(stage, screen)
        _show_trace(screen, logs)
    with screen.step(f"4. A cloud that nobody knows, and then somebody registers it: {NEW_CLOUD}"):
        _new_cloud(stage, screen)
        logs.news()
    with screen.step("5. All of them at once: one listing of three clouds"):
        _all_at_once(stage, screen)
        logs.news()
    with screen.step("6. The first that works, and what is left of all: cloud-2's Glance is dead"):
        stage.supervisor.stop(stage.services["glance-cloud-2"])
        screen.say("(stopped: Glance of cloud-2)")
        _list_images(stage, screen, "--scope", "{glance:cloud-2 | cloud-3}", expected="cirros")
        _show_trace(screen, logs)
        _all_but_one(stage, screen)


def _list_images(stage: Stage, screen: Screen, *arguments: str, expected: str | None) -> None:
    """Runs `openstack image list` at cloud-1; None expects no image at all."""
    result = commands.openstack(stage, screen, "image", "list", *arguments)
    _expect(result.status == 0, f"`image list` ended with status {result.status}")
    _expect_images(result.output, expected)


def _all_at_once(stage: Stage, screen: Screen) -> None:
    result = commands.openstack(stage, screen, "image", "list", "--scope", ALL)
    _expect(result.status == 0, f"`image list` ended with status {result.status}")
    for image in IMAGES.values():
        _expect(image in result.output, f"{image!r} is not in the list")
    screen.say("which cloud has which, as the API says it:")
    front = stage.sites[0].front_url
    token = log_in(f"{front}/identity/v3", user=MEMBER, project=PROJECT)
    headers = {"X-Auth-Token": token, "X-Scope": ALL}
    answer = commands.fetch(f"{front}/image/v2/images", headers, screen)
    found = {str(image["name"]): image["scopeway:cloud"] for image in _images(answer)}
    screen.output(", ".join(f"{name}: {cloud}" for name, cloud in sorted(found.items())))
    _expect(found == {image: cloud for cloud, image in IMAGES.items()}, f"it says {found}")
    screen.output(f"report: {json.dumps(answer['scopeway:report'])}")


def _all_but_one(stage: Stage, screen: Screen) -> None:
    result = commands.openstack(stage, screen, "image", "list", "--scope", ALL)
    _expect(result.status == 0, f"`image list` ended with status {result.status}")
    _expect("cirros" in result.output, "'cirros' is not in the list")
    _expect("1 of 3 clouds did not answer: cloud-2" in result.output, "cloud-2 is not missed")
    strict = ("--scope", ALL, "--scope-require", "all")
    result = commands.openstack(stage, screen, "image", "list", *strict)
    _expect(result.status != 0, "with `--scope-require all`, `image list` did not fail")


def _plain_clients(stage: Stage, screen: Screen) -> None:
    front = stage.sites[0].front_url
    screen.say("curl and a header:")
    token = log_in(f"{front}/identity/v3", user=MEMBER, project=PROJECT)
    url = f"{front}/image/v2/images"
    answer = commands.fetch(url, {"X-Auth-Token": token, "X-Scope": SCOPE}, screen)
    _show_names(screen, answer)
    screen.say("a token that was fetched with a scope carries it:")
    scoped = log_in(f"{front}/identity/v3", user=MEMBER, project=PROJECT, scope=SCOPE)
    _show_names(screen, commands.fetch(url, {"X-Auth-Token": scoped}, screen))
    screen.say("so does that of a client in which only a URL can be set:")
    # the braces as %7B and %7D: the client would take them for its own format of names
    url = f"{front}/~{quote(SCOPE, safe=':;')}/identity/v3"
    result = commands.openstack(
        stage, screen, "image", "list", env={"OS_CLOUD": "cloud-1", "OS_AUTH_URL": url}
    )
    _expect(result.status == 0, f"`image list` ended with status {result.status}")
    _expect_images(result.output, "cirros")


def _new_cloud(stage: Stage, screen: Screen) -> None:
    scope = f"{{glance:{NEW_CLOUD}}}"
    result = commands.openstack(stage, screen, "image", "list", "--scope", scope)
    _expect(result.status != 0, "`image list` of an unknown cloud did not fail")
    _expect(NEW_CLOUD in result.output, f"the error does not name {NEW_CLOUD}")
    lender = next(site for site in stage.sites if site.name == LENDER)
    screen.say(f"{NEW_CLOUD} is put into etcd; its services are those of {LENDER}:")
    waited, last = _time_until_served(stage, scope, borrowed_manifest(NEW_CLOUD, lender))
    screen.output(
        f"{waited * 1000:.0f} ms from the put to the end of the first request that was served, "
        f"which itself took {last * 1000:.0f} ms"
    )
    _list_images(stage, screen, "--scope", scope, expected=IMAGES[LENDER])


def _time_until_served(
    stage: Stage, scope: str, document: dict[str, object]
) -> tuple[float, float]:
    """Registers a cloud while somebody asks for it all the time.

    Returns:
        Seconds from the put to the first answer 200, and how long that request took.
    """
    front = stage.sites[0].front_url
    token = log_in(f"{front}/identity/v3", user=MEMBER, project=PROJECT)
    headers = {"X-Auth-Token": token, "X-Scope": scope}
    first: list[tuple[float, float]] = []

    def ask() -> None:
        deadline = time.monotonic() + LONGEST_WAIT_SECONDS
        while time.monotonic() < deadline and not first:
            began = time.monotonic()
            if request("GET", f"{front}/image/v2/images", headers=headers).status == 200:
                first.append((began, time.monotonic()))
            time.sleep(POLL_SECONDS)

    asking = threading.Thread(target=ask, name="asking", daemon=True)
    asking.start()
    sent = register(stage.plane, [document], stage.root / f"{NEW_CLOUD}.yaml")
    asking.join()
    _expect(bool(first), f"{scope} was not served within {LONGEST_WAIT_SECONDS:.0f} s")
    began, ended = first[0]
    return ended - sent, ended - began


def _show_trace(screen: Screen, logs: AccessLogs) -> list[Hop]:
    hops = logs.news()
    screen.table(trace.COLUMNS, trace.rows(hops))
    return hops


def _show_names(screen: Screen, answer: dict[str, object]) -> None:
    names = [str(image["name"]) for image in _images(answer)]
    screen.output(f"images: {', '.join(names)}")
    _expect(names == ["cirros"], f"the images are {names}, not ['cirros']")


def _images(answer: dict[str, object]) -> list[dict[str, object]]:
    images = answer.get("images")
    _expect(isinstance(images, list), f"no list of images in {answer}")
    return images if isinstance(images, list) else []


def _expect_images(output: str, expected: str | None) -> None:
    for image in IMAGES.values():
        listed = image in output
        _expect(
            listed == (image == expected),
            f"{image!r} is {'' if listed else 'not '}in the list",
        )


def _expect_foreign_validation(hops: Iterable[Hop]) -> None:
    _expect(
        any(hop.site == "cloud-3" and hop.at_front and hop.served_by == "cloud-1" for hop in hops),
        "no validation by cloud-1's Keystone is in the access log of cloud-3",
    )


def _expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise DemoError(f"not as expected: {otherwise}")
