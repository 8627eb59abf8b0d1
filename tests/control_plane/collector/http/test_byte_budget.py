"""Who is read while the collector holds too many bytes."""

from dataclasses import dataclass

import pytest

from scopeway.control_plane.collector.http.byte_budget import Account, ByteBudget
from scopeway.control_plane.collector.limits import Limits, TooMuchKept

LIMITS = Limits(bytes=1000, kept=600, kept_of_request=400, bodies=300)


@dataclass(eq=False)
class FakeReader:
    account: Account
    held: int = 0
    paused: bool = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


class Many:
    """A budget with requests, each with some readers."""

    def __init__(self, requests: int, readers: int) -> None:
        self.budget = ByteBudget(LIMITS)
        self.accounts = [Account() for _ in range(requests)]
        for account in self.accounts:
            self.budget.open(account)
        self.readers = [[FakeReader(each) for _ in range(readers)] for each in self.accounts]
        for reader in self.all:
            self.budget.begin(reader)

    @property
    def all(self) -> list[FakeReader]:
        return [each for readers in self.readers for each in readers]


def test_a_budget_that_is_used_up_pauses_all_but_one_answer() -> None:
    it = Many(2, 3)
    changes: list[bool] = []
    it.budget.on_change = changes.append
    it.accounts[1].needs = lambda: True

    for reader in it.all:
        it.budget.add(reader, 200)

    assert it.budget.full
    assert changes == [True]
    assert [each.paused for each in it.all] == [True, True, True, False, True, True]

    favoured = it.readers[1][0]
    it.budget.add(favoured, 5000)
    it.budget.complete(favoured)
    assert it.budget.total == 6200
    it.budget.release(favoured)
    assert it.budget.total == 1000


def test_an_answer_that_begins_while_the_budget_is_used_up_is_not_read() -> None:
    it = Many(1, 1)
    it.budget.add(it.all[0], 1000)
    late = FakeReader(it.accounts[0])

    it.budget.begin(late)

    assert late.paused


def test_a_request_that_waits_for_its_client_is_never_favoured() -> None:
    it = Many(1, 2)
    for reader in it.all:
        it.budget.add(reader, 600)

    assert all(each.paused for each in it.all)

    it.accounts[0].needs = lambda: True
    it.budget.look()

    assert [each.paused for each in it.all] == [False, True]


def test_a_request_above_its_share_leaves_the_others_alone() -> None:
    it = Many(4, 2)

    it.budget.add(it.readers[0][0], 260)

    assert [each.paused for each in it.all] == [True, True] + [False] * 6

    it.budget.release(it.readers[0][0])

    assert not it.readers[0][1].paused


def test_reading_goes_on_when_a_quarter_is_free() -> None:
    it = Many(2, 2)
    for reader, size in zip(it.all, (260, 260, 240, 240), strict=True):
        it.budget.add(reader, size)
    assert it.budget.full

    it.budget.release(it.all[0])
    it.budget.release(it.all[1])

    assert not it.budget.full
    assert not any(each.paused for each in it.all[2:])


def test_what_requests_keep_is_limited() -> None:
    it = Many(2, 0)
    first, second = it.accounts
    it.budget.keep(first, 400)
    with pytest.raises(TooMuchKept, match="need more than 400 bytes"):
        it.budget.keep(first, 1)
    with pytest.raises(TooMuchKept, match="no memory left"):
        it.budget.keep(second, 201)
    it.budget.close(first)
    it.budget.keep(second, 400)

    assert it.budget.kept == 400


def test_bodies_are_limited_and_given_back() -> None:
    budget = ByteBudget(LIMITS)

    assert budget.reserve(300)
    assert not budget.reserve(1)
    assert budget.reserve(-300)
    assert budget.kept == 0


def test_a_token_has_a_quarter_and_an_address_a_half() -> None:
    budget = ByteBudget(LIMITS)
    accounts = [
        Account(b"one", "192.0.2.1"),
        Account(b"one", "192.0.2.1"),
        Account(b"two", "192.0.2.1"),
        Account(b"three", "192.0.2.9"),
    ]
    for account in accounts:
        budget.open(account)
    readers = [FakeReader(each) for each in accounts]
    for reader in readers:
        budget.begin(reader)

    budget.add(readers[0], 130)
    budget.add(readers[1], 130)  # 260 of the token `one`
    assert [each.paused for each in readers] == [True, True, False, False]
    budget.add(readers[2], 249)  # 509 of the address
    assert [each.paused for each in readers] == [True, True, True, False]

    budget.release(readers[0])
    assert [each.paused for each in readers[1:]] == [False, False, False]
    for account in accounts:
        budget.close(account)


def test_a_token_keeps_no_more_than_one_request_may() -> None:
    budget = ByteBudget(LIMITS)
    accounts = [Account(b"one", "192.0.2.1"), Account(b"one", "192.0.2.2"), Account(b"two", "x")]
    for account in accounts:
        budget.open(account)

    budget.keep(accounts[0], 300)
    with pytest.raises(TooMuchKept, match="the requests of this client need more than 400 bytes"):
        budget.keep(accounts[1], 101)
    budget.keep(accounts[2], 101)
    budget.close(accounts[0])
    budget.keep(accounts[1], 400)


def test_others_wait_if_they_wait_for_nothing_but_room() -> None:
    budget = ByteBudget(LIMITS)
    slow, other = Account(b"one", "a"), Account(b"two", "b")
    for account in (slow, other):
        budget.open(account)
    readers = [FakeReader(each) for each in (slow, other)]
    for reader in readers:
        budget.begin(reader)
        budget.add(reader, 500)

    assert not budget.others_wait(slow)
    other.needs = lambda: True
    assert budget.others_wait(slow)
    assert not budget.others_wait(other)
