"""A candidate and the Lease at an API server."""

import asyncio
import logging

import pytest

from fake_api_server import FakeApi
from scopeway.control_plane.kubernetes_api.errors import ApiError
from scopeway.control_plane.status_writer.elector import Elector


class Candidates:
    """Two candidates with one clock."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.now = 0.0
        self.one, self.two = (
            Elector(self.api, "here", name, clock=lambda: self.now) for name in ("one", "two")
        )

    def leaders(self) -> list[bool]:
        return [self.one.is_leader, self.two.is_leader]

    async def attempt(self, at: float) -> list[bool]:
        self.now = at
        await self.one.attempt()
        await self.two.attempt()
        return self.leaders()


def test_one_of_two_leads_until_it_releases_the_lease() -> None:
    async def scenario() -> None:
        candidates = Candidates()
        assert await candidates.attempt(0) == [True, False]
        assert await candidates.attempt(2) == [True, False]
        await candidates.one.release()
        assert candidates.leaders() == [False, False]
        await candidates.two.attempt()
        assert candidates.leaders() == [False, True]

    asyncio.run(scenario())


def test_an_api_server_that_is_away_ends_the_lead_in_time() -> None:
    async def scenario() -> None:
        candidates = Candidates()
        await candidates.attempt(0)
        candidates.api.failures["get"] = ApiError("connection refused")
        assert await candidates.attempt(9) == [True, False]
        assert await candidates.attempt(10) == [False, False]
        candidates.api.failures.clear()
        assert await candidates.attempt(12) == [True, False]

    asyncio.run(scenario())


def test_a_lease_that_may_not_be_written_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        candidates = Candidates()
        candidates.api.failures["create"] = ApiError("denies access", code=403)
        for at in range(5):
            candidates.now = at
            await candidates.one.attempt()
        assert candidates.leaders() == [False, False]

    with caplog.at_level(logging.INFO):
        asyncio.run(scenario())
    assert len(caplog.records) == 1
    assert "here/scopeway-status" in caplog.text


def test_a_race_for_the_lease_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        candidates = Candidates()
        candidates.api.failures["create"] = ApiError("exists", code=409, reason="AlreadyExists")
        await candidates.one.attempt()
        assert candidates.leaders() == [False, False]

    asyncio.run(scenario())
    assert caplog.records == []
