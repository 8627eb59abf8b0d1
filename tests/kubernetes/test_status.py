"""Status of real objects at a real API server, written by real control planes."""

from collections.abc import Iterator

import pytest

from harness.fleet import at, manifest
from harness.kubernetes_stack import KubernetesStack
from harness.process import until
from scopeway.control_plane.clouds.document import to_document
from status_replicas import NAMESPACE, Replicas

ENDPOINT = {"endpoints": [at(9292)]}


@pytest.fixture
def replicas(stack: KubernetesStack) -> Iterator[Replicas]:
    made = Replicas(stack)
    yield made
    made.end()
    for kind in ("lease", "configmap"):
        made.api.kubectl("-n", NAMESPACE, "delete", kind, "--all")
    made.api.kubectl("delete", "edgeclouds,cordons,servicetypes", "--all")


def test_a_cloud_is_accepted_and_people_can_wait_for_it(replicas: Replicas) -> None:
    replicas.start("one")
    replicas.put("cloud-1", front=at(8080), services={"image": ENDPOINT})

    replicas.api.kubectl("wait", "--for=condition=Accepted", "edgecloud/cloud-1", "--timeout=30s")
    assert replicas.condition("cloud-1", "ResolvedRefs") == "True ResolvedRefs"
    replicas.wait("cloud-1", "EnvoyConnected", "False NotConnected")


def test_cordons_and_service_types_are_accepted(replicas: Replicas) -> None:
    replicas.start("one")
    replicas.api.apply(
        {
            "apiVersion": "scopeway.io/v1alpha1",
            "kind": "Cordon",
            "metadata": {"name": "cloud-1"},
            "spec": {"reason": "moving"},
        },
        {
            "apiVersion": "scopeway.io/v1alpha1",
            "kind": "ServiceType",
            "metadata": {"name": "sensor"},
            "spec": {"aliases": ["eye"]},
        },
        {
            "apiVersion": "scopeway.io/v1alpha1",
            "kind": "ServiceType",
            "metadata": {"name": "zoom"},
            "spec": {"aliases": ["eye"]},
        },
    )

    replicas.wait("cloud-1", "Accepted", "True Accepted", "cordons")
    replicas.wait("sensor", "Accepted", "True Accepted", "servicetypes")
    replicas.wait("zoom", "Accepted", "False Conflicted", "servicetypes")


def test_a_refused_cloud_says_why_in_its_status_and_in_an_event(replicas: Replicas) -> None:
    replicas.start("one")
    replicas.put("cloud-1", front=at(8080))
    replicas.wait("cloud-1", "Accepted", "True Accepted")
    replicas.put_bad("cloud-1")
    replicas.wait("cloud-1", "Accepted", "False Invalid")

    found = replicas.get("cloud-1")
    (accepted,) = (each for each in found["status"]["conditions"] if each["type"] == "Accepted")
    assert "frond" in accepted["message"]
    assert accepted["observedGeneration"] == found["metadata"]["generation"] == 2
    until(lambda: replicas.events("cloud-1"), "there is an event")
    (event,) = replicas.events("cloud-1")
    assert event["reason"] == "Invalid"
    assert event["note"] == accepted["message"]
    described = replicas.api.kubectl("describe", "edgecloud", "cloud-1").stdout
    assert "Warning" in described
    replicas.end()
    replicas.start("two")
    until(lambda: replicas.leader().startswith("two"), "the second replica leads")
    replicas.put("cloud-2", front=at(8080))
    replicas.wait("cloud-2", "Accepted", "True Accepted")
    assert len(replicas.events("cloud-1")) == 1


def test_service_types_that_are_declared_later_resolve(replicas: Replicas) -> None:
    replicas.start("one")
    replicas.put("cloud-1", services={"sensor": ENDPOINT})
    replicas.wait("cloud-1", "ResolvedRefs", "False UndeclaredServiceTypes")
    assert replicas.condition("cloud-1", "Accepted") == "True Accepted"
    replicas.wait("cloud-1", "EnvoyConnected", "False NoListeners")
    replicas.api.apply(
        {
            "apiVersion": "scopeway.io/v1alpha1",
            "kind": "ServiceType",
            "metadata": {"name": "sensor"},
        }
    )

    replicas.wait("cloud-1", "ResolvedRefs", "True ResolvedRefs")


def test_an_envoy_counts_at_either_replica_and_may_be_away_for_a_while(
    replicas: Replicas,
) -> None:
    one, two = replicas.start("one"), replicas.start("two")
    for name in ("cloud-1", "cloud-2"):
        replicas.put(name, front=at(8080))
    replicas.connect("cloud-1", one)
    close = replicas.connect("cloud-2", two)
    replicas.wait("cloud-1", "EnvoyConnected", "True Connected")
    replicas.wait("cloud-2", "EnvoyConnected", "True Connected")
    before = replicas.versions()
    close()
    close = replicas.connect("cloud-2", one)  # moves
    close()

    replicas.wait("cloud-2", "EnvoyConnected", "False NotConnected")
    after = replicas.versions()
    assert after["edgeclouds/cloud-1"] == before["edgeclouds/cloud-1"]


@pytest.mark.envoy
def test_a_real_envoy_is_connected_until_it_has_been_away_for_a_while(replicas: Replicas) -> None:
    replicas.start("one")
    replicas.stack.site("cloud-1", services={"image": ENDPOINT})
    replicas.wait("cloud-1", "EnvoyConnected", "True Connected")
    replicas.stack.envoys.pop("cloud-1").kill()

    replicas.wait("cloud-1", "EnvoyConnected", "False NotConnected")


def test_the_other_replica_follows_a_leader_that_was_killed(replicas: Replicas) -> None:
    one = replicas.start("one")
    until(lambda: replicas.leader().startswith("one"), "the first replica leads")
    two = replicas.start("two")
    replicas.put("cloud-1", front=at(8080))
    replicas.connect("cloud-1", two)
    replicas.wait("cloud-1", "EnvoyConnected", "True Connected")
    before = replicas.versions()
    one.kill()
    until(lambda: replicas.leader().startswith("two"), "the second replica leads")
    replicas.put("cloud-2", front=at(8080))
    replicas.wait("cloud-2", "Accepted", "True Accepted")

    assert two.metrics()["scopeway_status_leader"] == 1
    assert replicas.versions()["edgeclouds/cloud-1"] == before["edgeclouds/cloud-1"]
    until(lambda: len(replicas.objects()) == 1, "the objects of the dead replica are gone")
    until(lambda: len(replicas.leases()) == 1, "its lease, too")
    assert replicas.objects()[0]["metadata"]["name"].startswith("scopeway-replica-two-")


def test_a_leader_that_ends_gives_up_the_lead_and_leaves_no_objects(replicas: Replicas) -> None:
    one = replicas.start("one")
    until(lambda: len(replicas.objects()) == 1, "it has published")
    until(lambda: replicas.leader().startswith("one"), "it leads")
    one.stop()

    assert replicas.leader() == ""
    assert replicas.objects() == []
    assert replicas.leases() == []


def test_a_rolling_restart_writes_no_status(replicas: Replicas) -> None:
    one, two = replicas.start("one", grace=60), replicas.start("two", grace=60)
    replicas.api.apply(
        *(to_document(manifest(f"cloud-{each}", front=at(8080))) for each in range(20))
    )
    streams = [replicas.connect(f"cloud-{each}", (one, two)[each % 2]) for each in range(20)]
    replicas.api.kubectl(
        "wait", "--for=condition=EnvoyConnected", "edgeclouds", "--all", "--timeout=30s"
    )
    before = replicas.versions()
    for serve, other in ((one, two), (two, one)):
        serve.stop()
        for each in range(20):  # what Envoys do when their stream ends
            streams[each]()
            streams[each] = replicas.connect(f"cloud-{each}", other)
        serve.start()
    until(replicas.leader, "somebody leads")
    replicas.put("cloud-new", front=at(8080))
    replicas.wait("cloud-new", "Accepted", "True Accepted")

    after = replicas.versions()
    del after["edgeclouds/cloud-new"]
    assert after == before


def test_nothing_but_leases_is_written_while_nothing_happens(replicas: Replicas) -> None:
    one, two = replicas.start("one"), replicas.start("two")
    replicas.put("cloud-1", front=at(8080))
    replicas.put("cloud-2", front=at(8080))
    replicas.connect("cloud-1", one)
    replicas.wait("cloud-1", "EnvoyConnected", "True Connected")
    replicas.wait("cloud-2", "EnvoyConnected", "False NotConnected")

    def renewed() -> set[str]:
        return {each["spec"]["renewTime"] for each in replicas.leases()}

    before, versions, times = replicas.writes(), replicas.versions(), renewed()
    until(lambda: not renewed() & times, "both replicas have renewed their leases")
    times = renewed()
    until(lambda: not renewed() & times, "both have renewed them again")

    after = replicas.writes()
    assert {each for each, count in after.items() if count != before.get(each)} == {"leases"}
    assert replicas.versions() == versions
    assert two.metrics()["scopeway_status_writes_total{failed}"] == 0


def test_status_goes_on_after_the_api_server_was_away(replicas: Replicas) -> None:
    one = replicas.start("one", grace=60)
    replicas.put("cloud-1", front=at(8080))
    replicas.connect("cloud-1", one)
    replicas.wait("cloud-1", "EnvoyConnected", "True Connected")
    before = replicas.versions()
    replicas.api.server.kill()
    one.wait_until(lambda: not one.metrics()["scopeway_status_leader"], "it leads no more")
    replicas.api.start_server()
    until(lambda: replicas.put_if_possible("cloud-2", front=at(8080)), "clouds are registered")
    replicas.wait("cloud-2", "Accepted", "True Accepted")

    assert replicas.versions()["edgeclouds/cloud-1"] == before["edgeclouds/cloud-1"]


def test_without_the_right_to_write_status_everything_else_goes_on(replicas: Replicas) -> None:
    reader = replicas.api.kubeconfig_of("reader", group="readers")
    replicas.api.apply(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "readers"},
            "rules": [
                {
                    "apiGroups": ["scopeway.io"],
                    "resources": ["*"],
                    "verbs": ["get", "list", "watch"],
                },
                {
                    "apiGroups": ["coordination.k8s.io", ""],
                    "resources": ["leases", "configmaps"],
                    "verbs": ["*"],
                },
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "readers"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "readers",
            },
            "subjects": [{"kind": "Group", "name": "readers"}],
        },
    )
    serve = replicas.start("one", "--registry", f"kubernetes:{reader}")
    until(lambda: replicas.leader().startswith("one"), "it leads")
    replicas.put("cloud-1", front=at(8080))
    replicas.put("cloud-2", front=at(8080))
    until(lambda: serve.status()["clouds"] == 2, "it serves the clouds")
    until(lambda: "cannot write the status of objects" in serve.log_file.read_text(), "it says so")

    assert serve.log_file.read_text().count("cannot write the status of objects") == 1
    assert "edgeclouds/status" in serve.log_file.read_text()
    assert replicas.condition("cloud-1", "Accepted") == ""
