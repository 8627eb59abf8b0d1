"""A caller at its limit at a peer gets 429, and other callers are not affected.

The site uses certificates, so a caller has the identity in its certificate. The tests cover the
limits of rules and those of the peer, what ends a request that is under way, and what the user
behind the front gets.
"""

import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, ResponseReceived, StreamEnded

from harness.envoy import version
from harness.fleet import Fleet, manifest
from harness.http import TIMEOUT, Response, send
from harness.http2 import Connection2
from harness.ports import free_ports
from harness.services import at

pytestmark = pytest.mark.fleet(certificates=True)

PER_SECOND, AT_ONCE = 20, 10
WEBSOCKET = (":protocol", "websocket")
FAST = [f"fast-{number}" for number in range(1, 4)]
"""Callers with a limit of requests a second; each test has one of its own."""
MANY = [f"many-{number}" for number in range(1, 8)]
"""Callers with a limit of requests at once."""
RULES: list[dict[str, Any]] = [
    {"clouds": [*FAST, "cloud-1"], "limits": {"requestsPerSecond": PER_SECOND}},
    {"clouds": MANY, "limits": {"requestsPerSecond": "unlimited", "requestsAtOnce": AT_ONCE}},
    {"clouds": ["honest"], "limits": {"requestsPerSecond": "unlimited"}},
    {"clouds": ["other"]},
]


class Held:
    """A connection of HTTP/2 whose requests go on until they are ended."""

    def __init__(self, port: int, tls: ssl.SSLContext) -> None:
        plain = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        self._socket = tls.wrap_socket(plain, server_hostname="peer")
        self._state = H2Connection(H2Configuration())
        self._state.initiate_connection()
        self._send()
        self.statuses: dict[int, int] = {}
        self.ended: set[int] = set()

    def begin(self, method: str = "POST", *more: tuple[str, str], end: bool = False) -> int:
        """Send the head of a request; return its stream."""
        stream = self._state.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "https"), (":authority", "a")]
        fields += [(":path", "/image/v2"), *more]
        self._state.send_headers(stream, fields, end_stream=end)
        self._send()
        return stream

    def end(self, stream: int) -> None:
        """Send the end of its body."""
        self._state.end_stream(stream)
        self._send()

    def reset(self, stream: int) -> None:
        self._state.reset_stream(stream)
        self._send()

    def until(self, condition: Callable[[], bool]) -> None:
        """Read what comes."""
        while not condition():
            data = self._socket.recv(1 << 16)
            assert data, "the connection was closed"
            for event in self._state.receive_data(data):
                if isinstance(event, ResponseReceived):
                    fields = {bytes(n).decode(): bytes(v).decode() for n, v in event.headers}
                    self.statuses[event.stream_id] = int(fields[":status"])
                elif isinstance(event, StreamEnded):
                    self.ended.add(event.stream_id)
                elif isinstance(event, DataReceived):
                    pass  # unread: no window is given back
            self._send()

    def status(self, stream: int) -> int:
        self.until(lambda: stream in self.statuses)
        return self.statuses[stream]

    def close(self) -> None:
        self._socket.close()

    def _send(self) -> None:
        self._socket.sendall(self._state.data_to_send())


class Target:
    """cloud-2, all of whose callers have limits."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self._ports = free_ports(2)
        self._services = {"image": fleet.service("glance-2")}
        self.register(*RULES)
        fleet.start_envoy("cloud-2").wait_ready()

    def register(self, *rules: dict[str, Any]) -> None:
        front, peer = (at(port) for port in self._ports)
        limits = {"requestsPerSecond": PER_SECOND}
        self.fleet.control_plane.put(
            manifest(
                "cloud-2",
                front=front,
                peer={**peer, "limits": limits},
                services=self._services,
                accept=list(rules),
            )
        )

    def connect(self, cloud: str) -> Connection2:
        return Connection2(self._ports[1], tls=self._tls(cloud))

    def hold(self, cloud: str) -> Held:
        return Held(self._ports[1], self._tls(cloud))

    def counter(self, name: str) -> int:
        # Envoy 1.39 names them otherwise: docs/envoy.md, "Which Envoys"
        of = (
            "http.peer"
            if version() > (1, 39)
            else "extension_config_discovery.http_filter.lua/peer"
        )
        name = f"{of}.lua.{name}"
        return self.fleet.envoys["cloud-2"].stats(name).get(name, 0)

    def _tls(self, cloud: str) -> ssl.SSLContext:
        assert self.fleet.sites
        return self.fleet.sites.client(cloud)


@pytest.fixture(scope="module")
def target(fleet: Fleet) -> Target:
    return Target(fleet)


@pytest.fixture(scope="module")
def front(fleet: Fleet, target: Target) -> int:
    cloud = fleet.site("cloud-1", services={"image": fleet.service("glance-1")}, accept=[])
    assert cloud.front
    return cloud.front.port


@pytest.fixture
def honest(target: Target) -> Iterator[Connection2]:
    """A connection of another cloud."""
    with target.connect("honest") as connection:
        yield connection


def many(connection: Connection2, count: int = 100) -> list[Response]:
    return [connection.send("/image/v2") for _ in range(count)]


def statuses(responses: Iterable[Response]) -> list[int]:
    return [each.status for each in responses]


class TestRequestsASecond:
    def test_a_caller_above_its_rate_limit_gets_429_and_another_cloud_is_served(
        self, target: Target, honest: Connection2
    ) -> None:
        glance = target.fleet.echo("glance-2")
        counted, asked = target.counter("limited_per_second"), glance.requests
        began = time.monotonic()
        with target.connect(FAST[0]) as flooding:
            pairs = [(flooding.send("/image/v2"), honest.send("/image/v2")) for _ in range(100)]
        most = PER_SECOND * (1 + time.monotonic() - began) + 1

        told = statuses(flooded for flooded, _ in pairs)
        assert told[:PER_SECOND] == [200] * PER_SECOND
        assert told.count(200) <= most
        assert told.count(429) == 100 - told.count(200) > 0
        assert statuses(other for _, other in pairs) == [200] * 100
        assert glance.requests - asked == 100 + told.count(200)
        assert target.counter("limited_per_second") - counted == told.count(429)

    def test_a_429_by_rate_and_the_access_log_name_the_limit_and_the_caller(
        self, target: Target
    ) -> None:
        with target.connect(FAST[1]) as flooding:
            answers = many(flooding)
        refused = next(each for each in answers if each.status == 429)
        limit = "accept[0].limits.requestsPerSecond"

        assert refused.error["message"] == (
            f"cloud-2 takes at most 20 requests a second from {FAST[1]} ({limit})"
        )
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["x-scopeway-rejected"] == "true"
        assert refused.headers["x-scopeway-served-by"] == "cloud-2"
        served = statuses(answers).count(200)  # more than PER_SECOND where they took a while
        lines = target.fleet.envoys["cloud-2"].access_log(FAST[1], served + 1)
        assert {(each["status"], each["limit"]) for each in lines} == {(200, None), (429, limit)}

    def test_access_log_lines_of_a_flood_are_limited(self, target: Target) -> None:
        """The log has ten refused requests of a caller in a second; the counter has all."""
        counted, began = target.counter("limited_per_second"), time.monotonic()
        with target.connect(FAST[2]) as flooding:
            told = statuses(many(flooding, 500))
            most = 10 * (2 + int(time.monotonic() - began))

        lines = target.fleet.envoys["cloud-2"].access_log(FAST[2], told.count(200) + 10)
        refused = [each for each in lines if each["status"] == 429]
        assert told.count(429) > 2 * most
        assert 10 <= len(refused) <= most
        assert target.counter("limited_per_second") - counted == told.count(429)

    def test_denied_requests_count_towards_the_rate_limit_and_reach_no_service(
        self, target: Target
    ) -> None:
        """No rule is for this cloud: after so many 403 it gets 429, by the limit of the peer."""
        asked = target.fleet.echo("glance-2").requests
        with target.connect("nobody") as nobody:
            answers = many(nobody)

        assert statuses(answers)[:PER_SECOND] == [403] * PER_SECOND
        refused = next(each for each in answers if each.status == 429)
        assert "(peer.limits.requestsPerSecond)" in refused.error["message"]
        assert target.fleet.echo("glance-2").requests == asked

    def test_a_429_reaches_the_user_behind_a_front_and_is_not_retried_at_another_cloud(
        self, fleet: Fleet, front: int, target: Target
    ) -> None:
        """A 429 neither ejects cloud-2 for all users nor moves its load to the next cloud."""
        scope = [("X-Scope", "{image:cloud-2|cloud-1}")]
        answers = [send(front, "/image/v2", scope) for _ in range(100)]
        refused = next(each for each in answers if each.status == 429)

        assert refused.error["message"].startswith("cloud-2 takes at most 20 requests a second")
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["x-scopeway-rejected"] == "true"
        assert {each.headers["x-scopeway-served-by"] for each in answers} == {"cloud-2"}
        assert fleet.echo("glance-1").requests == 0

        def served() -> bool:
            return send(front, "/image/v2", scope).status == 200

        assert fleet.eventually(served)


class TestRequestsAtOnce:
    def fill(self, target: Target, cloud: str) -> tuple[Held, list[int]]:
        """Hold as many requests as there may be, and see that there may be no more."""
        held = target.hold(cloud)
        streams = [held.begin() for _ in range(AT_ONCE)]
        assert held.status(held.begin()) == 429
        return held, streams

    def test_a_caller_above_its_limit_of_concurrent_requests_gets_429_and_another_cloud_is_served(
        self, target: Target, honest: Connection2
    ) -> None:
        counted = target.counter("limited_at_once")
        held, _ = self.fill(target, MANY[0])
        with closing(held), target.connect(MANY[0]) as another:
            refused = another.send("/image/v2")

            assert refused.error["message"] == (
                f"cloud-2 takes at most 10 requests at once from {MANY[0]} "
                "(accept[1].limits.requestsAtOnce)"
            )
            assert statuses(many(honest)) == [200] * 100
            assert target.counter("limited_at_once") - counted == 2

    @pytest.mark.parametrize(
        ("way", "cloud"),
        [("answered", MANY[1]), ("reset", MANY[2]), ("connection closed", MANY[3])],
    )
    def test_ended_requests_no_longer_count_as_concurrent(
        self, target: Target, way: str, cloud: str
    ) -> None:
        held, streams = self.fill(target, cloud)
        with closing(held), closing(target.hold(cloud)) as another:
            if way == "connection closed":
                held.close()
            else:
                for stream in streams:
                    (held.end if way == "answered" else held.reset)(stream)
            if way == "answered":
                held.until(lambda: held.ended.issuperset(streams))

            def admitted() -> bool:
                return another.status(another.begin("CONNECT", WEBSOCKET)) == 200

            for _ in range(AT_ONCE):
                assert target.fleet.eventually(admitted)
            assert not admitted()

    def test_websockets_and_unread_answers_count_as_concurrent_until_they_end(
        self, fleet: Fleet, target: Target
    ) -> None:
        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 65536

        with closing(target.hold(MANY[4])) as held:
            sockets = [held.begin("CONNECT", WEBSOCKET) for _ in range(AT_ONCE - 2)]
            assert {held.status(each) for each in sockets} == {200}
            fleet.echo("glance-2").chunks = endless
            try:
                downloads = [held.begin("GET", end=True) for _ in range(2)]
                assert {held.status(each) for each in downloads} == {200}
            finally:
                fleet.echo("glance-2").chunks = None
            assert held.status(held.begin("GET", end=True)) == 429

    def test_sequential_requests_never_reach_the_limit_of_concurrent_ones(
        self, target: Target
    ) -> None:
        with target.connect(MANY[5]) as connection:
            assert statuses(many(connection)) == [200] * 100

    def test_concurrent_requests_are_counted_over_all_connections_of_a_cloud(
        self, target: Target
    ) -> None:
        connections = [target.hold(MANY[6]) for _ in range(AT_ONCE)]
        with ExitStack() as stack:
            for each in connections:
                stack.enter_context(closing(each))
                assert each.status(each.begin("CONNECT", WEBSOCKET)) == 200
            with target.connect(MANY[6]) as another:
                assert another.send("/image/v2").status == 429


class TestChanges:
    def test_a_changed_label_changes_the_limit_on_a_live_connection(
        self, fleet: Fleet, target: Target
    ) -> None:
        slow = {"clouds": ["[tier=slow]"], "limits": {"requestsPerSecond": PER_SECOND}}
        fleet.control_plane.put(manifest("honest"))
        target.register(slow, *RULES)
        with target.connect("honest") as connection:
            assert statuses(many(connection)) == [200] * 100
            fleet.control_plane.put(manifest("honest", {"tier": "slow"}))
            assert fleet.eventually(lambda: 429 in statuses(many(connection)))

    def test_routes_with_limits_work_with_an_older_lua(self, target: Target) -> None:
        """While control planes of two versions serve a site, it may have either Lua."""
        older = """function envoy_on_request(handle)
            handle:headers():replace("x-scopeway-origin", "other")
            handle:headers():replace("x-scopeway-target", "image@cloud-2")
            handle:headers():replace("x-scopeway-service", "image")
            handle:headers():replace("x-scopeway-method", "GET")
        end"""
        control_plane = target.fleet.control_plane
        with target.connect("other") as connection:
            assert 429 in statuses(many(connection))
            control_plane.replace_lua(older)
            try:
                assert target.fleet.eventually(lambda: statuses(many(connection)) == [200] * 100)
            finally:
                control_plane.replace_lua(None)
            assert target.fleet.eventually(lambda: 429 in statuses(many(connection)))
