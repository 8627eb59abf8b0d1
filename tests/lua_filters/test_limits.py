"""How much each calling cloud may ask of a peer."""

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
    def test_so_many_at_once_and_then_as_time_goes_by(self, peer_with: Make) -> None:
        peer = peer_with(per_second=50)
        assert peer.admitted(100) == 50
        peer.after(20)
        assert peer.admitted(100) == 1
        peer.after(500)
        assert peer.admitted(100) == 25

    def test_a_rest_saves_no_more_than_a_second(self, peer_with: Make) -> None:
        peer = peer_with(per_second=50)
        peer.admitted(100)
        peer.after(60_000)

        assert peer.admitted(100) == 50

    def test_each_cloud_has_its_own(self, peer_with: Make) -> None:
        peer = peer_with(per_second=50)
        peer.admitted(1000, "cloud-7")

        assert peer.admitted(100, "cloud-8") == 50

    def test_fewer_than_one_in_a_millisecond_add_up(self, peer_with: Make) -> None:
        peer = peer_with(per_second=2)
        peer.admitted(10)
        admitted = 0
        for _ in range(2000):
            peer.after(1)
            admitted += peer.admitted(1)

        assert 3 <= admitted <= 4

    def test_a_clock_that_is_set_back_gives_nothing_and_takes_nothing(
        self, peer_with: Make
    ) -> None:
        peer = peer_with(per_second=50)
        peer.admitted(100)
        peer.after(-3_600_000)
        assert peer.admitted(100) == 0
        peer.after(1000)
        assert peer.admitted(100) == 50

    def test_the_answer_says_who_and_why(self, peer_with: Make) -> None:
        peer = peer_with(per_second=1)
        peer.ask()
        answer = peer.ask()

        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        assert answer.error["title"] == "Too Many Requests"
        assert answer.error["message"] == (
            "cloud-1 takes at most 1 requests a second from cloud-7 (peer.limits.requestsPerSecond)"
        )

    def test_it_is_counted_and_noted_for_the_access_log(self, peer_with: Make) -> None:
        peer = peer_with(per_second=1)
        peer.ask()
        sent = peer.filter.request("/image/v2", {"x-scopeway-origin": f"{CALLERS}cloud-7"})

        assert dict(peer.filter.stats.items()) == {"limited_per_second": 1}
        assert sent.metadata["scopeway"]["limit"] == "peer.limits.requestsPerSecond"

    def test_of_those_refused_within_a_second_the_access_log_has_ten(self, peer_with: Make) -> None:
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
    def test_so_many_may_be_under_way(self, peer_with: Make) -> None:
        peer = peer_with(at_once=20)
        assert peer.admitted(30, held=True) == 20
        assert peer.admitted(5, "cloud-8") == 5

    def test_those_that_have_ended_count_no_longer(self, peer_with: Make) -> None:
        peer = peer_with(at_once=20)
        peer.admitted(30, held=True)
        peer.filter.end_requests()
        peer.after(50)

        assert peer.admitted(30, held=True) == 20

    def test_who_lets_them_end_meets_no_limit(self, peer_with: Make) -> None:
        peer = peer_with(at_once=20)
        admitted = 0
        for _ in range(100):
            admitted += peer.admitted(18)
            peer.after(50)

        assert admitted == 1800

    def test_a_caller_at_its_limit_makes_lua_collect_no_more_often_than_may_be(
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

    def test_the_answer_says_who_and_why(self, peer_with: Make) -> None:
        peer = peer_with(at_once=20)
        peer.admitted(20, held=True)
        answer = peer.ask()

        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        assert answer.error["message"] == (
            "cloud-1 takes at most 20 requests at once from cloud-7 (peer.limits.requestsAtOnce)"
        )
        assert dict(peer.filter.stats.items()) == {"limited_at_once": 1}


class TestLimitsOfRules:
    def test_they_come_before_those_of_the_peer(self, peer_with: Make) -> None:
        peer = peer_with(per_second=50, at_once=30)
        peer.rules("5 0 - - cloud-7 cloud-8\n- - 10 2 cloud-9\n")

        assert peer.admitted(100, "cloud-8") == 5
        assert peer.admitted(100, "cloud-9", held=True) == 10
        assert peer.admitted(100, "cloud-6", held=True) == 30
        assert "accept[0].limits.requestsPerSecond" in peer.ask("cloud-8").error["message"]
        peer.after(1000)
        assert "accept[2].limits.requestsAtOnce" in peer.ask("cloud-9").error["message"]

    def test_a_rule_can_lift_a_limit(self, peer_with: Make) -> None:
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

    def test_a_change_counts_within_a_second_for_what_is_under_way_too(
        self, peer_with: Make
    ) -> None:
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

    def test_without_any_limit_everything_goes_on(self, peer_with: Make) -> None:
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

    def test_no_caller_gets_its_tokens_back_by_being_forgotten(self, peer_with: Make) -> None:
        """Others that come and go make all lists anew, also that of who is at its limit."""
        peer = peer_with(per_second=5)
        peer.admitted(10)
        for number in range(6000):
            peer.ask(f"cloud-{number}x")

        assert peer.admitted(10) == 0

    def test_held_requests_count_whatever_others_do(self, peer_with: Make) -> None:
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

    def test_callers_are_who_they_say(self, plain: Any) -> None:
        def answer(origin: str) -> Any:
            return plain.request("/image/v2", {"x-scopeway-origin": origin}).answer

        assert [answer("cloud-7") for _ in range(5)] == [None] * 5
        assert answer("cloud-7").status == 429
        assert answer("cloud-8") is None

    def test_all_without_a_name_are_one(self, plain: Any) -> None:
        names = ["", "a b", "A", "x" * 100, "\xff"]
        assert all(
            plain.request("/image/v2", {"x-scopeway-origin": name}).answer is None for name in names
        )
        status, message = plain.refusal("/image/v2")

        assert status == 429
        assert "from callers without a name" in message


def test_without_the_limits_of_rules_nothing_goes_on(peer_with: Make) -> None:
    peer = peer_with(per_second=5)

    assert peer.ask(broken="filterContext").status == 500
