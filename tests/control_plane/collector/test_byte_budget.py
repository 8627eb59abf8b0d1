"""Who is read while the collector holds too many bytes."""

from dataclasses import dataclass

import pytest

from scopeway.control_plane.collector.byte_budget import Account, ByteBudget
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
    with pytest.raises(TooMuchKept, match="needs more than 400 bytes"):
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
