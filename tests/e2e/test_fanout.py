"""Fan-outs: what a front asks of its collector, and what that may ask of the Envoy."""

import pytest

from harness.fleet import Fleet
from harness.http import Response, send
from harness.stub_collector import StubCollector

pytestmark = pytest.mark.fleet(certificates=True)

ANYONE = [{"clouds": ["cloud-1"]}]


@pytest.fixture(scope="module")
def front(fleet: Fleet) -> int:
    for name in ("a", "b"):
        services = {"image": fleet.service(f"glance-{name}")}
        fleet.site(name, labels={"tier": "edge"}, services=services, accept=ANYONE)
    services = {"image": fleet.service("glance-1")}
    cloud = fleet.site("cloud-1", services=services, collector=fleet.collector_folder("cloud-1"))
    assert cloud.front
    return cloud.front.port


def scoped(port: int, scope: str, *headers: tuple[str, str], **more: object) -> Response:
    return send(port, "/image/v2/images?x=1", [("X-Scope", scope), *headers], **more)


def test_a_fanout_goes_to_the_collector_which_asks_each_member(fleet: Fleet, front: int) -> None:
    with StubCollector(fleet.folder / "collector-cloud-1") as collector:
        answer = scoped(front, "{image: a & b & local & nowhere}")

    (asked,) = collector.requests
    assert asked.told("members") == "a,b,cloud-1"
    assert answer.json["answers"].keys() == {"a", "b", "cloud-1"}
