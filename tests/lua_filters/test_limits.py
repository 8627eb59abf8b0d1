"""How many requests each calling cloud may send to a peer."""

from collections.abc import Callable
from typing import Any

import pytest

CALLERS = "spiffe://fleet/cloud/"


class Peer:
    """The Lua of a peer that clouds call with their certificates."""

    def __init__(self, filter_: Any) -> None:
        self.filter = filter_

    def ask(self, cloud: str = "cloud-7", **more: Any) -> Any:
        """Return what the Lua answers, or None where the request goes on."""
        return self.filter.request(
            "/image/v2", {"x-scopeway-origin": f"{CALLERS}{cloud}"}, **more
        ).answer

    def admitted(self, tries: int, cloud: str = "cloud-7", **more: Any) -> int:
        return sum(self.ask(cloud, **more) is None for _ in range(tries))

    def after(self, milliseconds: int) -> None:
        self.filter.now += milliseconds

    def rules(self, text: str) -> None:
        """Let the routes say other limits."""
        self.filter.context["limits"] = text


@pytest.fixture
def peer_with(new_filter: Callable[..., Any]) -> Callable[..., Peer]:
    def make(**limits: int) -> Peer:
        return Peer(new_filter("peer", limits=limits, callers=CALLERS))

    return make


Make = Callable[..., Peer]


class TestRequestsASecond:
    def test_a_caller_may_send_a_second_of_requests_at_once_and_then_its_rate(
        self, peer_with: Make
    ) -> None:
        peer = peer_with(per_second=50)
        assert peer.admitted(100) == 50
        peer.after(20)
        assert peer.admitted(100) == 1
        peer.after(500)
        assert peer.admitted(100) == 25

    def test_an_idle_caller_saves_up_at_most_a_second_of_requests(self, peer_with: Make) -> None:
        peer = peer_with(per_second=50)
        peer.admitted(100)
        peer.after(60_000)

        assert peer.admitted(100) == 50

    def test_each_calling_cloud_has_its_own_rate(self, peer_with: Make) -> None:
        peer = peer_with(per_second=50)
        peer.admitted(1000, "cloud-7")

        assert peer.admitted(100, "cloud-8") == 50

    def test_rates_below_one_request_in_a_millisecond_add_up(self, peer_with: Make) -> None:
        peer = peer_with(per_second=2)
        peer.admitted(10)
        admitted = 0
        for _ in range(2000):
            peer.after(1)
            admitted += peer.admitted(1)

        assert 3 <= admitted <= 4

    def test_a_clock_set_back_changes_no_rate_of_a_caller(self, peer_with: Make) -> None:
        peer = peer_with(per_second=50)
        peer.admitted(100)
        peer.after(-3_600_000)
        assert peer.admitted(100) == 0
        peer.after(1000)
        assert peer.admitted(100) == 50

    def test_the_429_by_rate_names_the_caller_and_the_limit(self, peer_with: Make) -> None:
        peer = peer_with(per_second=1)
        peer.ask()
        answer = peer.ask()

        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        assert answer.error["title"] == "Too Many Requests"
        assert answer.error["message"] == (
            "cloud-1 takes at most 1 requests a second from cloud-7 (peer.limits.requestsPerSecond)"
        )

    def test_a_429_by_rate_is_counted_and_noted_for_the_access_log(self, peer_with: Make) -> None:
        peer = peer_with(per_second=1)
        peer.ask()
        sent = peer.filter.request("/image/v2", {"x-scopeway-origin": f"{CALLERS}cloud-7"})

        assert dict(peer.filter.stats.items()) == {"limited_per_second": 1}
        assert sent.metadata["scopeway"]["limit"] == "peer.limits.requestsPerSecond"

    def test_the_access_log_gets_ten_refused_requests_in_a_second(self, peer_with: Make) -> None:
        peer = peer_with(per_second=1)
        peer.ask()

        def logged(tries: int) -> int:
            origin = {"x-scopeway-origin": f"{CALLERS}cloud-7"}
            sent = [peer.filter.request("/image/v2", origin) for _ in range(tries)]
            noted = [each.metadata["scopeway"] for each in sent if each.answer]
            return sum(each["unlogged"] is None for each in noted)

        assert logged(30) == 10
        peer.after(1000)
        assert logged(31) == 10


class TestRequestsAtOnce:
    def test_concurrent_requests_of_a_caller_are_limited(self, peer_with: Make) -> None:
        peer = peer_with(at_once=20)
        assert peer.admitted(30, held=True) == 20
        assert peer.admitted(5, "cloud-8") == 5

    def test_ended_requests_are_no_longer_counted(self, peer_with: Make) -> None:
        peer = peer_with(at_once=20)
        peer.admitted(30, held=True)
        peer.filter.end_requests()
        peer.after(50)

        assert peer.admitted(30, held=True) == 20

    def test_a_caller_whose_requests_end_reaches_no_limit(self, peer_with: Make) -> None:
        peer = peer_with(at_once=20)
        admitted = 0
        for _ in range(100):
            admitted += peer.admitted(18)
            peer.after(50)

        assert admitted == 1800

    def test_a_caller_at_its_limit_runs_the_garbage_collector_at_most_once_a_second(
        self, peer_with: Make
    ) -> None:
        peer = peer_with(at_once=20)
        peer.admitted(20, held=True)
        peer.filter.execute(
            "collections = 0 local collect = collectgarbage "
            "collectgarbage = function(...) collections = collections + 1 return collect(...) end"
        )
        for _ in range(100):
            assert peer.admitted(10, held=True) == 0
        assert peer.filter.execute("return collections") == 1  # the clock stands still
        peer.after(1000)
        peer.admitted(10, held=True)
        assert peer.filter.execute("return collections") == 2

    def test_the_429_by_concurrency_names_the_caller_and_the_limit(self, peer_with: Make) -> None:
        peer = peer_with(at_once=20)
        peer.admitted(20, held=True)
        answer = peer.ask()

        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        assert answer.error["message"] == (
            "cloud-1 takes at most 20 requests at once from cloud-7 (peer.limits.requestsAtOnce)"
        )
        assert dict(peer.filter.stats.items()) == {"limited_at_once": 1}


class TestLimitsOfRules:
    def test_limits_of_rules_win_over_those_of_the_peer(self, peer_with: Make) -> None:
        peer = peer_with(per_second=50, at_once=30)
        peer.rules("5 0 - - cloud-7 cloud-8\n- - 10 2 cloud-9\n")

        assert peer.admitted(100, "cloud-8") == 5
        assert peer.admitted(100, "cloud-9", held=True) == 10
        assert peer.admitted(100, "cloud-6", held=True) == 30
        assert "accept[0].limits.requestsPerSecond" in peer.ask("cloud-8").error["message"]
        peer.after(1000)
        assert "accept[2].limits.requestsAtOnce" in peer.ask("cloud-9").error["message"]

    def test_a_rule_can_remove_a_limit(self, peer_with: Make) -> None:
        peer = peer_with(per_second=5, at_once=10)
        peer.rules("* 0 * 0 cloud-7\n")

        assert peer.admitted(100, held=True) == 100
        peer.after(1000)
        assert peer.admitted(100) == 100
        peer.rules("")
        peer.after(1000)
        assert peer.admitted(1) == 0
        peer.filter.end_requests()
        peer.after(1000)
        assert peer.admitted(100) == 5

    def test_changed_limits_of_rules_apply_within_a_second(self, peer_with: Make) -> None:
        peer = peer_with(per_second=1000, at_once=1000)
        peer.admitted(100, held=True)
        peer.rules("5 0 - - cloud-8\n- - 50 1 cloud-7\n")
        peer.admitted(1, "cloud-8")
        peer.after(1000)

        assert peer.admitted(100, "cloud-8") == 5
        assert peer.admitted(100, held=True) == 0
        peer.rules("")
        peer.after(1000)
        assert peer.admitted(100, held=True) == 100

    def test_a_peer_without_limits_admits_every_request(self, peer_with: Make) -> None:
        assert peer_with().admitted(300, held=True) == 300


class TestMemory:
    def test_callers_that_have_gone_are_forgotten(self, peer_with: Make) -> None:
        peer = peer_with(per_second=100, at_once=100)

        def used() -> float:
            return peer.filter.execute("collectgarbage() return collectgarbage('count')")

        def ask(numbers: range) -> None:
            for number in numbers:
                peer.ask(f"cloud-{number}")
                peer.after(1)

        ask(range(4900))  # 100 more, and all lists are made anew
        before = used()
        ask(range(4900, 17_000))

        assert used() < 2 * before

    def test_a_forgotten_caller_gets_no_new_tokens(self, peer_with: Make) -> None:
        """Others that come and go make all lists anew, also that of who is at its limit."""
        peer = peer_with(per_second=5)
        peer.admitted(10)
        for number in range(6000):
            peer.ask(f"cloud-{number}x")

        assert peer.admitted(10) == 0

    def test_held_requests_are_counted_whatever_other_callers_do(self, peer_with: Make) -> None:
        peer = peer_with(at_once=10)
        peer.admitted(10, held=True)
        for number in range(6000):
            peer.ask(f"cloud-{number}x")
            peer.after(1)

        assert peer.admitted(10) == 0


class TestWithoutCertificates:
    @pytest.fixture
    def plain(self, new_filter: Callable[..., Any]) -> Any:
        return new_filter("peer", limits={"per_second": 5})

    def test_a_caller_without_a_certificate_is_counted_by_its_origin_header(
        self, plain: Any
    ) -> None:
        def answer(origin: str) -> Any:
            return plain.request("/image/v2", {"x-scopeway-origin": origin}).answer

        assert [answer("cloud-7") for _ in range(5)] == [None] * 5
        assert answer("cloud-7").status == 429
        assert answer("cloud-8") is None

    def test_callers_without_a_valid_name_share_one_limit(self, plain: Any) -> None:
        names = ["", "a b", "A", "x" * 100, "\xff"]
        assert all(
            plain.request("/image/v2", {"x-scopeway-origin": name}).answer is None for name in names
        )
        status, message = plain.refusal("/image/v2")

        assert status == 429
        assert "from callers without a name" in message


def test_an_error_reading_the_limits_of_rules_is_a_500(peer_with: Make) -> None:
    peer = peer_with(per_second=5)

    assert peer.ask(broken="filterContext").status == 500
