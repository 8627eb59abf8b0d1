"""This version beside the one before, in every order: control planes, Envoys, sites and files.

docs/upgrades.md has the table.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from harness import version_before
from harness.envoy import Envoy
from harness.fleet import manifest
from harness.http2 import Connection2
from harness.mixed_versions import Mixture, MixtureServer, sent
from harness.ports import free_ports
from harness.process import until
from harness.services import at
from harness.stack import REPOSITORY, ServeProcess, Stack, run_scopeway
from harness.two_versions import World, is_served, site, two_versions
from harness.version_before import control_plane_of
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.registry.documents import to_json
from scopeway.xds.type_urls import CLUSTER, EXTENSION, LISTENER, ROUTE

pytestmark = [
    pytest.mark.etcd,
    pytest.mark.skipif(
        not version_before.is_at_hand(),
        reason=f"git has no commit {version_before.COMMIT}: a shallow clone, or no clone at all",
    ),
]

MIXED = CLUSTER, LISTENER, ROUTE, EXTENSION


@pytest.fixture(scope="module")
def world(stack: Stack) -> Iterator[World]:
    with two_versions(stack) as world:
        yield world


def test_no_request_fails_while_sites_are_upgraded_and_downgraded_in_any_order(
    world: World,
) -> None:
    """cloud-1 asks cloud-2; both Envoys were started with bootstraps of the version before."""
    load = world.load("cloud-1", "cloud-2")
    with load.running():
        load.goes_on()
        assert load.failed == []
        for cloud, serve in (
            ("cloud-2", world.now),
            ("cloud-1", world.now),
            ("cloud-2", world.before),
            ("cloud-1", world.before),
            ("cloud-1", world.now),
            ("cloud-2", world.now),
        ):
            world.move(cloud, serve)
            load.goes_on()
            assert load.failed == [], f"{cloud} has {serve.name}"


def test_an_envoy_with_the_new_bootstrap_is_refused_by_the_version_before_and_keeps_working(
    world: World,
) -> None:
    """cloud-7 asks cloud-2, and is asked by cloud-1; its own control plane goes back."""
    refused = world.refused()
    loads = world.load("cloud-7", "cloud-2"), world.load("cloud-1", "cloud-7")
    with loads[0].running(), loads[1].running():
        for load in loads:
            load.goes_on()
        world.switches["cloud-7"].turn(world.before.xds_port)
        until(lambda: world.refused() > refused, "it is refused")
        for load in loads:
            load.goes_on()
        world.move("cloud-7", world.now)
        for load in loads:
            load.goes_on()

    assert loads[0].failed + loads[1].failed == []


def test_an_envoy_with_the_new_bootstrap_finds_the_control_plane_that_serves_it(
    world: World,
) -> None:
    """It has two control planes, both of the version before until one is upgraded."""
    (port,) = free_ports(1)
    stack = world.stack
    images = stack.service("glance of cloud-8")
    stack.put(manifest("cloud-8", front=at(port), services={"image": images}))
    refused = world.refused()
    world.start_envoy("cloud-8", REPOSITORY, world.before, world.before)
    until(lambda: world.refused() > refused + 1, "it is refused")
    assert not is_served(port)
    world.switches["cloud-8"].turn(world.now.xds_port)

    until(lambda: is_served(port), "its front answers")


def test_a_connection_with_earlier_filters_obeys_the_new_rules(world: World) -> None:
    """A connection keeps its filters for up to ten minutes, but uses the new routes."""
    stack = world.stack
    front, peer = free_ports(2)
    cloud = site(stack, "cloud-6", front, peer)
    stack.put(cloud)
    world.start_envoy("cloud-6", world.sources, world.before)
    until(lambda: is_served(front), "its front answers")
    assert stack.identities
    with Connection2(peer, tls=stack.identities.client("cloud-2")) as connection:

        def ask(method: str = "GET") -> tuple[int, str]:
            response = connection.send("/image/v2/images", method=method)
            return response.status, response.headers.get("x-request-id", "")

        assert [ask()[0], ask("DELETE")[0]] == [200, 403]
        world.move("cloud-6", world.now)
        assert [ask()[0], ask("DELETE")[0]] == [200, 403]

        stack.put(replace(cloud, accept_mode="audit"))
        until(lambda: ask("DELETE")[0] == 200, "nobody is denied")
        noted = [world.envoy("cloud-6").access_log(ask(each)[1])[0] for each in ("GET", "DELETE")]
        stack.put(replace(cloud, accept=()))
        until(lambda: ask()[0] == 403, "everybody is denied")

    assert [(each["audit"], each["audit_policy"]) for each in noted] == [
        ("allowed", "accept[0]"),
        ("denied", "accept[0] allows GET, POST"),
    ]


def test_each_version_starts_from_the_saved_state_of_the_other(world: World) -> None:
    """This one alone; the one before with its registry, whether it can read the file or not."""
    stack = world.stack
    names = {"cloud-1", "cloud-2", "cloud-3", "cloud-4", "cloud-5", "cloud-7"}

    def folder_of(name: str) -> Path:
        folder = stack.folder / f"state-{name}"
        until(lambda: names <= saved_names(folder), f"{name} has saved them")
        return Path(shutil.copytree(folder, stack.folder / f"copy-{name}"))

    (nobody,) = free_ports(1)
    assert stack.identities
    tls = stack.identities.serve_options()
    after, back = (
        ServeProcess(url, stack.folder, *tls, "--state-dir", state, name=name, sources=sources)
        for url, state, name, sources in (
            (f"etcd://127.0.0.1:{nobody}", folder_of("before"), "after", REPOSITORY),
            (stack.etcd.url, folder_of("now"), "back", world.sources),
        )
    )
    try:
        for serve in (after, back):
            serve.launch()
        for serve in (after, back):
            serve.wait_until(serve.is_ready, "/readyz is 200")
            assert serve.status()["clouds"] >= len(names)
        assert "; serving what " in after.status()["stale"]
        assert back.status()["stale"] is None
        assert after.status()["refused"] == back.status()["refused"] == []
    finally:
        for serve in (after, back):
            serve.kill()


def saved_names(folder: Path) -> set[str]:
    text = "".join(each.read_text() for each in folder.iterdir() if not each.name.startswith("."))
    return set(re.findall(r'"name": ?"([^"]+)"', text))


def test_each_version_reads_the_entries_written_by_the_command_of_the_other(
    world: World,
) -> None:
    """Manifests and cordons; of a field that it does not know, the one before says so."""
    both = {"cloud-21": world.sources, "cloud-22": REPOSITORY}
    stack = world.stack
    images = stack.service("glance of many")
    files = {}
    for name in both:
        files[name] = stack.folder / f"{name}.yaml"
        cloud = manifest(name, services={"image": images}, accept=[{"clouds": ["cloud-1"]}])
        files[name].write_bytes(to_json(cloud))  # which is YAML
    with_limits = json.loads(files["cloud-22"].read_text())
    with_limits["spec"]["accept"][0]["limits"] = {"requestsPerSecond": 200}
    newer = stack.folder / "newer.yaml"
    newer.write_text(json.dumps(with_limits))

    def command(sources: Path, *arguments: object) -> str:
        more = ["--registry", stack.etcd.url]
        return run_scopeway("cloud", arguments[0], *more, *arguments[1:], sources=sources)

    def of_both(*arguments: Callable[[str], object]) -> None:
        with ThreadPoolExecutor() as pool:
            list(
                pool.map(
                    lambda name: command(both[name], *(each(name) for each in arguments)), both
                )
            )

    def status_of_both() -> list[str]:
        pairs = (world.before, REPOSITORY), (world.now, world.sources)
        return [
            run_scopeway("status", "--admin", f"127.0.0.1:{serve.admin_port}", sources=sources)
            for serve, sources in pairs
        ]

    def both_say(field: str, wanted: object) -> None:
        for serve in (world.before, world.now):
            serve.wait_until(
                lambda each=serve: each.status()[field] == wanted, f"{field}: {wanted}"
            )

    clouds = world.now.status()["clouds"]
    of_both(lambda _: "put", files.__getitem__)
    both_say("clouds", clouds + 2)
    of_both(lambda _: "cordon", str, lambda _: "--reason", lambda name: f"why {name}")
    both_say("cordoned", {name: f"why {name}" for name in both})
    both_say("refused", [])

    for text in status_of_both():
        assert "why cloud-21" in text
    command(REPOSITORY, "put", newer)
    world.before.wait_until(lambda: world.before.status()["refused"], "it is refused")
    (problem,) = world.before.status()["refused"]
    assert "limits" in problem
    assert world.before.status()["clouds"] == clouds + 2  # as it was read last
    assert world.now.status()["refused"] == []
    command(world.sources, "put", files["cloud-22"])
    both_say("refused", [])


def test_the_version_before_refuses_service_types_and_keeps_its_clouds(world: World) -> None:
    stack = world.stack
    sensor = stack.folder / "sensor.yaml"
    sensor.write_bytes(to_json(ServiceType(name="sensor")))
    services = {"image": stack.service("glance of cloud-23")}
    stack.put(manifest("cloud-23", services=services))
    world.before.wait_until(lambda: world.before.status()["refused"] == [], "nothing is refused")
    clouds = world.before.status()["clouds"]

    run_scopeway("service-type", "put", "--registry", stack.etcd.url, sensor)
    services["sensor"] = stack.service("sensor of cloud-23")
    stack.put(manifest("cloud-23", services=services))

    world.before.wait_until(lambda: len(world.before.status()["refused"]) == 2, "both are refused")
    refused = "\n".join(sorted(world.before.status()["refused"]))
    assert '_service-types/sensor: kind: "ServiceType" is not' in refused
    assert 'clouds/cloud-23: spec.services: "sensor" is not a service type of OpenStack' in refused
    assert world.before.status()["clouds"] == clouds
    world.now.wait_until(lambda: world.now.status()["service_types"] == ["sensor"], "it is known")
    assert world.now.status()["refused"] == []
    run_scopeway("service-type", "delete", "--registry", stack.etcd.url, "sensor")
    stack.etcd.delete(["cloud-23"])
    world.before.wait_until(lambda: world.before.status()["refused"] == [], "nothing is refused")


NAMES = """
import json, sys
from control_plane.scope import ScopeError, lexical_form, parse_target, target_name
try:
    from control_plane.scope import complete_scope
    def completed(text, origin):
        found = complete_scope(text, origin)
        return found.text, found.expression_for
except ImportError:  # the version before
    from control_plane.scope import binding_for, complete
    def completed(text, origin):
        text = complete(text, origin)
        return text, lambda service: binding_for(text, service, origin)
made = {}
for case in json.load(sys.stdin)["cases"]:
    # the version before served no fan-outs, and knew no prefix "&"
    if "text" not in case or {"&", "^"}.intersection(case["text"]):
        continue
    origin = case.get("origin", "cloud-1")
    try:
        text, expression_for = completed(case["text"], origin)
        services = [*case.get("bindings", ()), "image"]
        targets = [target_name(each, expression_for(each)) for each in services]
        read = [repr(parse_target(each)).replace(", every=False", "") for each in targets]
        made[case["why"]] = [lexical_form(case["text"]), targets, read]
    except ScopeError as error:
        made[case["why"]] = None
print(json.dumps(made))
"""


def test_both_versions_parse_scopes_into_the_same_targets(world: World) -> None:
    vectors = (REPOSITORY / "tests/vectors/scope/lexical.json").read_text()
    before, now = (
        json.loads(run_python(NAMES, text=vectors, sources=each))
        for each in (world.sources, REPOSITORY)
    )

    assert before == now
    assert any(before.values())


CLIENT = """
import http.client, json, sys
from types import SimpleNamespace as Some
from control_plane.client.hook import ScopeRejected, attach_scope
answers = []
for scope in sys.argv[2:]:
    session = Some(additional_headers={}, session=Some(hooks={"response": []}))
    attach_scope(Some(config=Some(config={"x_scope": scope}), session=session))
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
    connection.request("GET", "/image/v2/images", headers=session.additional_headers)
    got = connection.getresponse()
    text = got.read().decode()
    response = Some(headers=got.headers, status_code=got.status, text=text, url="/")
    try:
        for hook in session.session.hooks["response"]:
            hook(response)
        answers.append(json.loads(text)["name"])
    except ScopeRejected as error:
        answers.append(str(error))
print(json.dumps(answers))
"""


@pytest.mark.parametrize("client", ["before", "now"])
def test_the_client_of_each_version_works_at_the_front_of_the_other(
    world: World, client: str
) -> None:
    """It also shows the reason of a rejection."""
    is_before = client == "before"
    world.move("cloud-1", world.now if is_before else world.before)
    scopes = ["{glance:cloud-2}", "{ Glance: cloud-4 | cloud-3 }", "{glance:cloud-9}"]
    answers = run_python(
        CLIENT, world.ports["cloud-1"], *scopes, sources=world.sources if is_before else REPOSITORY
    )

    assert json.loads(answers) == [
        "glance of cloud-2",
        "glance of cloud-3",
        "no cloud is named cloud-9 (HTTP 404)",
    ]


def run_python(script: str, *arguments: object, text: str = "", sources: Path) -> str:
    """Run a script that imports a version's `control_plane`; return its standard output."""
    script = script.replace("from control_plane.", f"from {control_plane_of(sources)}.")
    if sources == REPOSITORY:
        script = script.replace(".client.hook", ".openstack_client.hook")
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(
        command, cwd=sources, input=text, capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_resources_of_both_versions_work_in_every_mixture(
    world: World,
) -> None:
    """For a moment Envoy has some of each, and connections have some of before for longer."""
    stack = world.stack
    both = "cloud-1", "cloud-2"
    with world.load(
        "cloud-1", "cloud-2", slow=False
    ).running() as load:  # so that all targets are in use
        load.goes_on()
    assert stack.identities
    sets = {
        cloud: [
            sent(serve.xds_port, stack.identities, cloud, targets_of(world.envoy(cloud)))
            for serve in (world.before, world.now)
        ]
        for cloud in both
    }
    mixture = Mixture(sets)
    server = MixtureServer(mixture, stack.background, stack.identities.of(None))
    failed = []
    try:
        for cloud in both:
            world.switches[cloud].turn(server.port)
            server.wait_for(cloud)
        for cloud in both:
            for number in range(1, 1 << len(MIXED)):
                # one of them changes from one mixture to the next
                before, now = (each ^ each >> 1 for each in (number - 1, number))
                changed = (before ^ now).bit_length() - 1
                server.choose(cloud, MIXED[changed], now >> changed & 1)
                mixed = [each for bit, each in enumerate(MIXED) if now >> bit & 1]
                failed += [f"{cloud}, {mixed} of now: {each}" for each in load.once()]
    finally:
        for cloud in both:
            world.move(cloud, world.now)
        server.close()

    assert failed == []


def targets_of(envoy: Envoy) -> list[str]:
    """Return the targets whose clusters an Envoy has."""
    dump = envoy.admin("/config_dump?resource=dynamic_active_clusters").json["configs"]
    return [each["cluster"]["name"] for each in dump]
