"""Fan-outs: what a front asks of its collector, and what that may ask of the Envoy."""

import stat
from collections.abc import Iterator
from typing import Any

import pytest

from harness.fleet import Fleet, manifest
from harness.http import Response, send
from harness.stub_collector import Asked, StubCollector
from scopeway.control_plane.planner.fanout import MAX_CLOUDS

pytestmark = pytest.mark.fleet(certificates=True)

ANYONE = [{"clouds": ["cloud-1"]}]
SINGLE = [{"clouds": ["cloud-1"], "fanout": False}]
CREDENTIALS = ("x-service-token", "cookie", "authorization", "proxy-authorization")


@pytest.fixture(scope="module")
def front(fleet: Fleet) -> int:
    for name, accept in (
        ("a", ANYONE),
        ("b", ANYONE),
        ("reader", [{**ANYONE[0], "methods": ["GET"]}]),
        ("single", SINGLE),
        ("mixed", [*SINGLE, {**ANYONE[0], "services": ["image"], "methods": ["GET"]}]),
    ):
        fleet.site(name, services={"image": fleet.service(f"glance-{name}")}, accept=accept)
    cloud = fleet.site(
        "cloud-1",
        services={"image": fleet.service("glance-1")},
        collector=fleet.collector_folder("cloud-1"),
    )
    assert cloud.front
    return cloud.front.port


@pytest.fixture
def collector(fleet: Fleet, front: int) -> Iterator[StubCollector]:
    with StubCollector(fleet.folder / "collector-cloud-1") as collector:
        yield collector


def scoped(port: int, scope: str, *headers: tuple[str, str], **more: Any) -> Response:
    return send(port, "/image/v2/images?x=1", [("X-Scope", scope), *headers], **more)


def the_one(collector: StubCollector) -> Asked:
    (asked,) = collector.requests
    return asked


def members_answers(response: Response) -> dict[str, Any]:
    """Return status and body of each member's answer."""
    assert response.status == 200, response.body
    return dict(response.json["answers"])


def received(fleet: Fleet, service: str) -> dict[str, str]:
    """Return the headers of the last request that a service got."""
    return dict(fleet.echo(service).last["headers"])


class TestCollector:
    """What the collector is asked, and what becomes of its answer."""

    def test_a_fanout_names_members_and_missing_clouds(
        self, front: int, collector: StubCollector
    ) -> None:
        response = scoped(front, "{image: a & nowhere & b & local & single}")
        asked = the_one(collector)

        assert (asked.method, asked.path) == ("GET", "/v2/images?x=1")
        assert asked.told("target") == "image@a&nowhere&b&cloud-1&single"
        assert (asked.told("service"), asked.told("operator")) == ("image", "&")
        assert asked.told("members") == "a,b,cloud-1"
        assert asked.told("missing") == "nowhere=404/unknown,single=403/policy"
        assert asked.told("origin") == "cloud-1"
        assert asked.told("lists") is asked.told("route") is None
        answers = members_answers(response)
        assert {cloud: status for cloud, (status, _) in answers.items()} == dict.fromkeys(
            ("a", "b", "cloud-1"), 200
        )
        for cloud, service in (("a", "glance-a"), ("b", "glance-b"), ("cloud-1", "glance-1")):
            assert f'"name": "{service}"' in answers[cloud][1]

    def test_exactly_one_is_an_operator_of_its_own(
        self, front: int, collector: StubCollector
    ) -> None:
        assert scoped(front, "{image: b ^ a}").status == 200

        asked = the_one(collector)
        assert (asked.told("operator"), asked.told("members")) == ("^", "b,a")
        assert asked.told("missing") is None

    def test_the_collector_gets_the_token_with_its_scope_and_all_questions_of_the_client(
        self, front: int, collector: StubCollector
    ) -> None:
        more = [("X-Auth-Token", "gAAA"), ("X-Scope-Require", "all"), ("X-Scope-Deadline", "5")]
        more += [(name, "secret") for name in CREDENTIALS]
        response = scoped(front, "{image: a & local}", *more)
        asked = the_one(collector)

        assert asked.headers["x-auth-token"] == "gAAA~1~*:cloud-1;image:a&cloud-1"
        assert asked.headers["x-scope-require"] == "all"
        assert asked.headers["x-scope-deadline"] == "5"
        assert asked.headers["x-forwarded-host"] == "front.example"
        assert asked.headers["x-forwarded-prefix"] == "/image"
        assert asked.headers["via"] == "1.1 cloud-1.scopeway"
        assert asked.headers["x-request-id"] == response.headers["x-request-id"]
        assert "x-scope" not in asked.headers
        assert all(asked.headers[name] == "secret" for name in CREDENTIALS)

    def test_credentials_of_the_site_reach_its_own_services_and_no_other_cloud(
        self, fleet: Fleet, front: int, collector: StubCollector
    ) -> None:
        more = [(name, "secret") for name in CREDENTIALS]
        scoped(front, "{image: a & local}", *more, ("X-Scope-Require", "all"))
        far, near = received(fleet, "glance-a"), received(fleet, "glance-1")

        assert not far.keys() & {*CREDENTIALS, "x-scope-require"}
        assert near.keys() >= {*CREDENTIALS}
        assert "x-scope-require" not in near

    def test_a_write_reaches_the_members_with_its_body(
        self, front: int, collector: StubCollector
    ) -> None:
        answers = members_answers(scoped(front, "{image: a & local}", method="POST", body=b"12345"))

        assert the_one(collector).body == b"12345"
        assert all('"length": 5' in body for _, body in answers.values())

    def test_the_report_is_passed_on_and_cookies_are_not(
        self, front: int, collector: StubCollector
    ) -> None:
        response = scoped(front, "{image: a & b}")

        assert response.headers["x-scopeway-report"] == "asked=2"
        assert "set-cookie" not in response.headers

    def test_the_report_of_a_service_is_its_own_invention(
        self, fleet: Fleet, front: int, collector: StubCollector
    ) -> None:
        echo = fleet.echo("glance-a")
        echo.headers = [("X-Scopeway-Report", "asked=9"), ("Set-Cookie", "a=b")]
        try:
            plain = scoped(front, "{image: a}")
            member = collector.ask("image@a")
        finally:
            echo.headers = ()

        for response in (plain, member):
            assert response.status == 200
            assert "x-scopeway-report" not in response.headers
            assert "set-cookie" not in response.headers

    def test_a_fanout_of_the_largest_size_reaches_the_collector(
        self, fleet: Fleet, front: int, collector: StubCollector
    ) -> None:
        names = [f"edge-{number:06}" for number in range(MAX_CLOUDS)]
        service = {"image": fleet.service("glance-a")}
        fleet.control_plane.put(
            *(manifest(name, {"tier": "edge"}, services=service, accept=ANYONE) for name in names)
        )
        collector.asks = False
        try:
            # with the longest headers that a front takes
            response = scoped(front, "{image: &[tier=edge]}", ("X-Long", "x" * 50_000))
        finally:
            fleet.control_plane.put(delete=tuple(names))

        assert response.status == 200
        assert (the_one(collector).told("members") or "").split(",") == sorted(names)


class TestForgedHeaders:
    """A client cannot say whom a collector asks."""

    FORGED = (
        *(("X-Scopeway-Members", "single"), ("X-Scopeway-Missing", "a=404/unknown")),
        *(("X-Scopeway-Target", "image@single"), ("X-Scopeway-Operator", "^")),
        *(("X-Scopeway-Route", "fanout"), ("X-Scopeway-Lists", "[]")),
        *(("X-Scopeway-Fanout", "1"), ("X-Scopeway-Service", "identity")),
    )

    def test_forged_headers_have_no_effect_on_a_fanout(
        self, front: int, collector: StubCollector
    ) -> None:
        scoped(front, "{image: a & b}", *self.FORGED)
        asked = the_one(collector)

        assert (asked.told("members"), asked.told("operator")) == ("a,b", "&")
        assert asked.told("target") == "image@a&b"
        assert asked.told("service") == "image"
        assert asked.told("missing") is asked.told("lists") is asked.told("fanout") is None

    @pytest.mark.parametrize("cloud", ["a", "local"])
    def test_forged_headers_make_no_fanout_of_a_plain_request(
        self, fleet: Fleet, front: int, collector: StubCollector, cloud: str
    ) -> None:
        response = scoped(front, f"{{image: {cloud}}}", *self.FORGED)
        sent = dict(response.json["headers"])

        assert response.status == 200
        assert collector.requests == []
        assert not sent.keys() & {"x-scopeway-members", "x-scopeway-fanout", "x-scopeway-route"}


class TestCollect:
    """What the listener `collect` takes of who speaks to its socket."""

    def test_the_socket_is_for_the_group_of_the_collector_only(
        self, fleet: Fleet, front: int
    ) -> None:
        found = (fleet.folder / "collector-cloud-1" / "collect.sock").stat()

        assert stat.S_ISSOCK(found.st_mode)
        assert stat.S_IMODE(found.st_mode) == 0o660

    @pytest.mark.parametrize(
        ("target", "status", "message"),
        [
            ("image@a&b", 400, "the collector names no target of one cloud"),
            ("image@a|b", 400, "the collector names no target of one cloud"),
            ("image@[tier=edge]", 400, "the collector names no target of one cloud"),
            ("identity.validate@a", 400, "the collector names no target of one cloud"),
            ("identity@a", 400, "no fan-out has the service 'identity'"),
            ("nosuch@a", 400, "no fan-out has the service 'nosuch'"),
            ("image@nowhere", 404, "no cloud is named nowhere"),
            ("compute@a", 404, "a has no compute service"),
        ],
    )
    def test_a_target_that_is_no_member_is_refused(
        self, collector: StubCollector, target: str, status: int, message: str
    ) -> None:
        response = collector.ask(target)

        assert (response.status, response.error["message"]) == (status, message)
        assert response.headers["x-scopeway-rejected"] == "true"

    def test_who_speaks_to_the_socket_is_this_site_and_no_other(
        self, fleet: Fleet, collector: StubCollector
    ) -> None:
        forged = [("x-scopeway-origin", "b"), ("x-scopeway-members", "b"), ("x-scope", "image:b")]
        response = collector.ask("image@a", headers=forged)
        (line,) = fleet.envoys["a"].access_log(response.headers["x-request-id"])
        sent = dict(response.json["headers"])

        assert line["origin"] == "cloud-1"
        assert not sent.keys() & {"x-scopeway-members", "x-scope"}
        own = dict(collector.ask("image@cloud-1", headers=forged).json["headers"])
        assert own["x-scopeway-origin"] == "cloud-1"
        assert not own.keys() & {"x-scopeway-members", "x-scope"}

    def test_envoy_sends_nothing_twice_for_a_collector(
        self, fleet: Fleet, collector: StubCollector
    ) -> None:
        echo = fleet.echo("glance-a")
        echo.status, before = 404, echo.requests
        retry = [("x-envoy-retry-on", "retriable-status-codes")]
        retry += [("x-envoy-retriable-status-codes", "404"), ("x-envoy-max-retries", "3")]
        try:
            assert collector.ask("image@a", headers=retry).status == 404
        finally:
            echo.status = 200

        assert echo.requests == before + 1

    def test_a_cloud_that_cannot_be_reached_has_surely_done_nothing(
        self, fleet: Fleet, collector: StubCollector
    ) -> None:
        peer = {"address": "127.0.0.1", "port": fleet.free_port()}
        dead = manifest("dead", services={"image": fleet.nobody()}, accept=ANYONE, peer=peer)
        fleet.control_plane.put(dead)

        response = collector.ask("image@dead", method="POST", body=b"1")

        assert response.status == 503
        assert response.error["message"] == "image@dead cannot be reached: connection refused"
        assert response.headers["x-scopeway-unsent"] == "true"

    def test_a_peer_says_that_its_service_cannot_be_reached_and_no_service_does(
        self, fleet: Fleet, collector: StubCollector
    ) -> None:
        fleet.site("deaf", services={"image": fleet.nobody()}, accept=ANYONE)
        echo = fleet.echo("glance-a")
        echo.headers = [("x-scopeway-unreachable", "true"), ("x-scopeway-unsent", "true")]
        try:
            claimed = [collector.ask(f"image@{cloud}", method="POST") for cloud in ("a", "deaf")]
        finally:
            echo.headers = ()

        assert [each.status for each in claimed] == [200, 503]
        said = [each.headers.get("x-scopeway-unreachable") for each in claimed]
        assert said[0] != "true"
        assert said[1] == "true"
        assert not any("x-scopeway-unsent" in each.headers for each in claimed)


class TestMembersPolicy:
    """A member's peer judges each request, as one of this site."""

    @pytest.mark.parametrize(("method", "status"), [("GET", 200), ("POST", 403)])
    def test_the_peer_of_a_member_judges_the_method(
        self, front: int, collector: StubCollector, method: str, status: int
    ) -> None:
        body = b"{}" if method == "POST" else b""
        answers = members_answers(scoped(front, "{image: a & reader}", method=method, body=body))

        assert (answers["a"][0], answers["reader"][0]) == (200, status)

    def test_the_peer_of_a_member_sees_the_size_of_the_fanout(
        self, fleet: Fleet, front: int, collector: StubCollector
    ) -> None:
        response = scoped(front, "{image: a & b & local}")
        (line,) = fleet.envoys["a"].access_log(response.headers["x-request-id"])

        assert (line["listener"], line["fanout"]) == ("peer", "3")
        assert dict(received(fleet, "glance-a"))["x-scopeway-fanout"] == "3"
        plain = scoped(front, "{image: a}")
        (line,) = fleet.envoys["a"].access_log(plain.headers["x-request-id"])
        assert line["fanout"] is None

    def test_a_hostile_site_writes_no_long_size_into_the_log_of_a_peer(
        self, fleet: Fleet, collector: StubCollector
    ) -> None:
        long = [("x-scopeway-fanout", "9" * 10_000)]
        response = collector.ask("image@a", headers=long)
        (line,) = fleet.envoys["a"].access_log(response.headers["x-request-id"])

        assert (response.status, line["fanout"]) == (200, "9" * 8)

    @pytest.mark.parametrize("headers", [[("x-scopeway-fanout", "2")], []])
    def test_a_rule_for_single_requests_denies_what_the_collector_asks(
        self, collector: StubCollector, headers: list[tuple[str, str]]
    ) -> None:
        response = collector.ask("image@single", headers=headers)

        assert response.status == 403
        assert response.error["message"] == (
            "single does not let cloud-1 use its image service in a fan-out ('&', '^'): "
            "its accept rules for it allow cloud-1 single requests only"
        )

    def test_a_rule_for_single_requests_allows_them(self, fleet: Fleet, front: int) -> None:
        response = scoped(front, "{image: single}")
        (line,) = fleet.envoys["single"].access_log(response.headers["x-request-id"])

        assert (response.status, line["policy"]) == (200, "accept[0]")

    def test_another_rule_may_allow_a_fanout(
        self, fleet: Fleet, front: int, collector: StubCollector
    ) -> None:
        response = scoped(front, "{image: mixed & a}")
        (line,) = fleet.envoys["mixed"].access_log(response.headers["x-request-id"])

        assert (members_answers(response)["mixed"][0], line["policy"]) == (200, "accept[1]")
        denied = collector.ask("image@mixed", method="POST", body=b"{}")
        assert denied.status == 403
        assert scoped(front, "{image: mixed}", method="POST", body=b"{}").status == 200


class TestFailures:
    def test_without_a_collector_fanouts_are_a_501_and_plain_requests_are_served(
        self, fleet: Fleet, front: int
    ) -> None:
        a = fleet.control_plane.inventory.get("a")
        assert a
        assert a.front

        response = scoped(a.front.port, "{image: local & cloud-1}")

        assert (response.status, response.error["code"]) == (501, 501)
        assert response.error["message"] == "a has no collector (scopeway collect)"
        assert scoped(a.front.port, "{image: local}").status == 200

    def test_a_collector_that_is_down_is_a_503_at_fanouts_only(
        self, fleet: Fleet, front: int
    ) -> None:
        response = scoped(front, "{image: a & b}")

        assert response.status == 503
        assert response.error["message"] == (
            "image@a&b cannot be reached: nothing listens on its socket (scopeway collect)"
        )
        assert response.headers["x-scopeway-rejected"] == "true"
        for scope in ("{image: a}", "{image: a | b}", "{image: local}"):
            assert scoped(front, scope).status == 200
        with StubCollector(fleet.folder / "collector-cloud-1"):
            assert scoped(front, "{image: a & b}").status == 200

    def test_a_socket_that_nobody_listens_on_is_a_503(self, fleet: Fleet, front: int) -> None:
        collector = StubCollector(fleet.folder / "collector-cloud-1")
        with collector:
            assert scoped(front, "{image: a & b}").status == 200
            collector.stop_listening()
            response = scoped(front, "{image: a & b}")

        assert response.status == 503
        message = "image@a&b cannot be reached: connection refused"
        assert response.error["message"] == message

    @pytest.mark.parametrize(
        ("scope", "status", "message"),
        [
            ("{*: a & b}", 400, "column 7: '*' takes no '&': bind each service by its name"),
            ("{keystone: a & b}", 400, "column 14: identity takes one cloud, not '&'"),
            ("{image: a & &}", 400, "column 4: '[' is missing after '&' (in 'a&&')"),
            ("{image: (a | b) & a}", 501, "'&' joins clouds, local and"),
            ("{image: a & [x=y]}", 501, "'&' joins clouds, local and"),
            ("{image: &[tier=none]}", 404, "no cloud has the labels [tier=none]"),
            ("{image: nowhere & neither}", 404, "no cloud is named nowhere"),
        ],
    )
    def test_a_fanout_that_cannot_be_served_says_why(
        self, front: int, scope: str, status: int, message: str
    ) -> None:
        response = scoped(front, scope)

        assert (response.status, response.error["code"]) == (status, status)
        assert message in response.error["message"]


def test_a_member_that_becomes_unknown_moves_to_the_missing_clouds_at_once(
    fleet: Fleet, front: int, collector: StubCollector
) -> None:
    new = manifest("new", services={"image": fleet.service("glance-a")}, accept=ANYONE)

    def parts() -> tuple[str | None, str | None]:
        scoped(front, "{image: a & new}")
        return collector.requests[-1].told("members"), collector.requests[-1].told("missing")

    assert parts() == ("a", "new=404/unknown")
    fleet.control_plane.put(new)
    assert fleet.eventually(lambda: parts() == ("a,new", None))
    fleet.control_plane.put(delete=("new",))
    assert fleet.eventually(lambda: parts() == ("a", "new=404/unknown"))


def test_access_logs_join_a_fanout_and_its_members_by_the_request_id(
    fleet: Fleet, front: int, collector: StubCollector
) -> None:
    response = scoped(front, "{image: a & local}")
    lines = fleet.envoys["cloud-1"].access_log(response.headers["x-request-id"], lines=3)
    by_target = {line["target"]: line for line in lines}

    assert by_target.keys() == {"image@a&cloud-1", "image@a", "image@cloud-1"}
    whole = by_target["image@a&cloud-1"]
    assert (whole["listener"], whole["status"], whole["attempts"]) == ("front", 200, 1)
    for cloud in ("a", "cloud-1"):
        line = by_target[f"image@{cloud}"]
        assert (line["listener"], line["status"], line["served_by"]) == ("collect", 200, cloud)
        assert line["bytes_sent"] > 0
        assert line["duration_ms"] >= 0
