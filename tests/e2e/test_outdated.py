"""Envoys at a control plane that cannot read its registry, while another one can.

`yesterday` started from saved clouds, and its connection to etcd is cut; `today` knows the later
changes. The tests of a class depend on each other, in their order.
"""

from pathlib import Path
from typing import Any

import pytest

from harness.cuttable_port import Way
from harness.fleet import manifest
from harness.http import Response, send
from harness.ports import free_ports
from harness.process import until
from harness.services import at
from harness.stack import ServeProcess, Stack
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.translator.bootstrap import bootstrap

ANYONE = [{"clouds": ["new-site", "old-site", "third-site", "other-site", "left-site"]}]
NOT_KNOWN = (
    "no cloud is named {}, or the control plane does not know it yet: "
    "it has not been able to read its registry since 20"
)


def serving(stack: Stack, name: str, echo: str) -> Cloud:
    return manifest(name, services={"image": stack.service(echo)}, accept=ANYONE)


def site(stack: Stack, name: str, ports: list[int], **more: Any) -> Cloud:
    front, peer = ports
    services = {"image": stack.service(f"image of {name}")}
    return manifest(
        name, front=at(front), peer=at(peer), services=services, **{"accept": ANYONE, **more}
    )


def ask(port: int, cloud: str, method: str = "GET") -> Response:
    return send(port, "/image/v2/x", [("X-Scope", f"{{image:{cloud}}}")], method=method, timeout=9)


def name(port: int, cloud: str) -> str:
    """Return which service answers for a cloud, or why none does."""
    response = ask(port, cloud)
    return str(response.json["name"] if response.status == 200 else response.error["message"])


def listens(port: int) -> bool:
    try:
        send(port, "/")
    except ConnectionError:  # one that is just being closed may reset instead of refuse
        return False
    return True


def line(serve: ServeProcess, node: str) -> Any:
    """Return what /status says of a node."""
    (found,) = (each for each in serve.status()["streams"] if each["node"] == node)
    return found


def asked(serve: ServeProcess, node: str) -> set[str]:
    """Return the types that a node has asked for."""
    streams = serve.status()["streams"]
    return {kind for each in streams if each["node"] == node for kind in each["types"]}


def stale_envoys(serve: ServeProcess) -> dict[str, float]:
    name = "scopeway_stale_envoys"
    return {
        each.removeprefix(f"{name}{{").removesuffix("}"): value
        for each, value in serve.metrics().items()
        if each.startswith(name) and value
    }


class Replicas:
    """Two control planes and what they serve."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.before: dict[str, dict[str, int]] = {}
        self.way = Way(stack.etcd.port)
        stack._closing.callback(self.way.cut)
        self.yesterday = ServeProcess(
            f"etcd://127.0.0.1:{self.way.port}",
            stack.folder,
            *("--state-dir", folder),
            name="yesterday",
        )
        stack._closing.callback(self.yesterday.kill)
        self.today = stack.serve(start=False)
        self.old_ports, self.new_ports = free_ports(2), free_ports(2)
        self.left_ports = free_ports(2)
        self.old_front, self.new_front = self.old_ports[0], self.new_ports[0]

    def save(self) -> None:
        """Register yesterday's clouds, and have them saved."""
        stack = self.stack
        stack.put(
            serving(stack, "moved", "old"),
            serving(stack, "gone", "old"),
            serving(stack, "kept", "kept"),
            serving(stack, "unused", "old"),
            site(stack, "old-site", self.old_ports),
            site(stack, "left-site", self.left_ports),
        )
        self.yesterday.start()
        self.yesterday.stop()  # which saves what is not saved yet

    def change(self) -> None:
        """Register today's clouds."""
        stack = self.stack
        stack.put(
            serving(stack, "moved", "new"),
            serving(stack, "added", "new"),
            serving(stack, "late", "new"),
            site(stack, "new-site", self.new_ports),
            # which has taken back what it allowed
            site(stack, "old-site", self.old_ports, accept=[]),
        )
        stack.etcd.delete(["gone"])


SITES = "new-site", "old-site", "left-site"
USED = {"moved": "new", "gone": "no cloud is named gone", "added": "new", "kept": "kept"}


@pytest.fixture(scope="class")
def replicas(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Replicas:
    """Two Envoys of today's have moved to yesterday's control plane."""
    found = Replicas(stack, tmp_path_factory.mktemp("state"))
    found.save()
    found.change()
    found.today.start()
    for each, front in (("new-site", found.new_front), ("old-site", found.old_front)):
        stack.start_envoy(each, found.today, found.yesterday).wait_ready()
        until(lambda front=front: listens(front), f"the front of {each} listens")
        assert {cloud: name(front, cloud) for cloud in USED} == USED
    assert ask(found.new_front, "old-site").status == 403
    left = found.left_ports[0]
    stack.start_envoy("left-site", found.today, found.yesterday).wait_ready()
    until(lambda: listens(left), "the front of left-site listens")
    assert name(left, "kept") == "kept"
    stack.etcd.delete(["left-site"])
    until(lambda: not listens(left), "the front of left-site is gone")
    found.before = {each: stack.envoys[each].updates() for each in SITES[:2]}
    found.way.cut()
    found.yesterday.launch()
    found.yesterday.wait_until(found.yesterday.is_ready, "it serves what was saved")
    found.today.kill()
    for each in SITES:
        # an Envoy without listeners has no routes and filters to ask for
        types = {"Cluster", "Listener"} | (
            {"TypedExtensionConfig"} if each != "left-site" else set()
        )
        found.yesterday.wait_until(
            lambda node=f"{each}/envoy", types=types: types <= asked(found.yesterday, node), each
        )
    return found


STATES = {"unknown": 2, "sent": 1, "keeps": 1}


class TestOutdatedControlPlane:
    """What was saved before the clouds changed."""

    def test_a_running_envoy_keeps_its_resources_at_an_outdated_control_plane(
        self, stack: Stack, replicas: Replicas
    ) -> None:
        for front in (replicas.new_front, replicas.old_front):
            assert {cloud: name(front, cloud) for cloud in USED} == USED
        # what was removed today stays removed
        assert not listens(replicas.left_ports[0])
        # a right that was taken back today stays taken back
        assert ask(replicas.new_front, "old-site").status == 403
        for each, before in replicas.before.items():
            assert stack.envoys[each].updates() == before

    def test_an_outdated_control_plane_serves_known_clouds_and_answers_503_for_others(
        self, replicas: Replicas
    ) -> None:
        front = replicas.old_front
        late = ask(front, "late")

        assert name(front, "unused") == "old"
        assert (late.status, late.error["code"]) == (503, 503)
        assert late.error["message"].startswith(NOT_KNOWN.format("late"))
        assert name(replicas.new_front, "unused").startswith(
            "the cloud of this site, new-site, is unknown to the control plane: it has not been "
        )

    def test_status_metrics_and_log_name_the_envoys_of_an_outdated_control_plane(
        self, replicas: Replicas
    ) -> None:
        serve = replicas.yesterday
        new, old = line(serve, "new-site/envoy"), line(serve, "old-site/envoy")

        assert (new["stale"], old["stale"]) == ("unknown", "keeps")
        assert new["kept"] > 4
        assert old["kept"] > 2
        assert old["sent_stale"] == 2
        assert stale_envoys(serve) == {"unknown": 1, "keeps": 2}
        said = "client keeps the resources that it reported, because the source is outdated"
        assert said in serve.log()

    def test_an_outdated_control_plane_serves_a_new_envoy_of_a_known_cloud_and_others_wait(
        self, stack: Stack, replicas: Replicas
    ) -> None:
        serve, front = replicas.yesterday, replicas.old_front
        stack.envoys["old-site"].stop()
        stack.start_envoy("old-site", serve).wait_ready()
        until(lambda: listens(front), "the front of old-site listens")
        ports = free_ports(2)
        stack.put(site(stack, "third-site", ports))
        third = stack.start_envoy("third-site", serve).wait_ready()

        assert name(front, "moved") == "old"
        serve.wait_until(lambda: stale_envoys(serve) == STATES, "both are seen")
        assert "the cloud of a node is not known here" in serve.log()
        replicas.way.mend()
        until(lambda: listens(ports[0]), "the front of third-site listens")
        assert third.exit_status is None

    def test_all_envoys_are_updated_when_the_registry_is_reachable_again(
        self, stack: Stack, replicas: Replicas
    ) -> None:
        serve = replicas.yesterday
        serve.wait_until(lambda: serve.status()["stale"] is None, "etcd is read")
        fronts = replicas.new_front, replicas.old_front
        for front in fronts:
            for cloud, expected in {**USED, "late": "new", "unused": "old"}.items():
                until(lambda f=front, c=cloud, e=expected: name(f, c) == e, f"{cloud} at {front}")
        assert ask(replicas.new_front, "old-site").status == 403
        assert not listens(replicas.left_ports[0])
        assert stale_envoys(serve) == {}
        assert all(each["stale"] is None for each in serve.status()["streams"])
        assert all(each["kept"] == 0 for each in serve.status()["streams"])


class TestOutage:
    """A control plane that was up to date until it lost its registry."""

    def test_an_envoy_that_moves_to_an_outdated_control_plane_keeps_its_resources(
        self, stack: Stack
    ) -> None:
        stack.put(serving(stack, "moved", "old"), serving(stack, "gone", "old"))
        fresh, way = stack.serve(), Way(stack.etcd.port)
        serve = ServeProcess(f"etcd://127.0.0.1:{way.port}", stack.folder, name="lost").start()
        detour = Way(serve.xds_port)
        for close in (serve.kill, way.cut, detour.cut):
            stack._closing.callback(close)
        detour.cut()
        ports = free_ports(2)
        stack.put(site(stack, "other-site", ports))
        addresses = [("127.0.0.1", port) for port in (fresh.xds_port, detour.port)]
        config = bootstrap(cloud="other-site", xds=addresses, admin=("127.0.0.1", 0))
        envoy = stack.run_envoy("other-site", config).wait_ready()
        until(lambda: listens(ports[0]), "the front listens")
        assert name(ports[0], "moved") == name(ports[0], "gone") == "old"
        way.cut()
        serve.wait_until(lambda: serve.status()["stale"], "etcd is missed")
        stack.put(serving(stack, "moved", "new"), site(stack, "other-site", ports, accept=[]))
        stack.etcd.delete(["gone"])
        until(lambda: ask(ports[0], "gone").status == 404, "the change has come")
        before = envoy.updates()
        detour.mend()
        fresh.kill()
        serve.wait_until(lambda: serve.serves(envoy), "the Envoy has moved")

        assert name(ports[0], "moved") == "new"
        assert ask(ports[0], "gone").status == 404
        assert envoy.updates() == before
        assert line(serve, envoy.node)["stale"] == "keeps"
        stack.put(serving(stack, "moved", "newest"))
        way.mend()
        until(lambda: name(ports[0], "moved") == "newest", "etcd is followed again")
        assert ask(ports[0], "gone").status == 404
        assert serve.status()["stale"] is None
