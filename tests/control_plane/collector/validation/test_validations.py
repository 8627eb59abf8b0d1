"""Validations of tokens: what the cache answers, and what the Keystone is asked."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from os import getuid
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from harness.fake_clouds import (
    Behaviour,
    CollectorClient,
    FakeClouds,
    Received,
    Response,
    answer,
    fake_clouds,
    json_answer,
    silence,
)
from scopeway.control_plane.collector.validation.validations import (
    MAX_ANSWER,
    Validations,
    serving_validations,
)

pytestmark = pytest.mark.asyncio

TOKENS = "/v3/auth/tokens"
HOME = "cloud-1"
VALID = json_answer(
    {"token": {"user": {"id": "1"}}},
    headers={"vary": "X-Auth-Token", "x-subject-token": "one", "x-openstack-request-id": "req-1"},
)


@dataclass
class Site:
    keystone: FakeClouds
    client: CollectorClient
    validations: Validations

    async def ask(
        self,
        token: str = "one",
        *,
        method: str = "GET",
        url: str = TOKENS,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        sent = {
            "host": "keystone",
            "x-scopeway-target": f"identity.validate@{HOME}",
            "x-scopeway-service": "identity.validate",
            "x-auth-token": token,
            "x-subject-token": token,
            **(headers or {}),
        }
        reader, writer = await self.client.send(url, sent, method=method)
        try:
            return await self.client.receive(reader, method=method)
        finally:
            writer.close()


@asynccontextmanager
async def site(behaviour: Behaviour = VALID, **limits: int) -> AsyncIterator[Site]:
    with TemporaryDirectory() as path:
        folder = Path(path)
        async with (
            fake_clouds(folder) as keystone,
            serving_validations(
                folder, HOME, seconds=5, users=frozenset([getuid()]), **limits
            ) as validations,
        ):
            keystone.behaviours[HOME] = behaviour
            yield Site(keystone, CollectorClient(folder / "validate.sock"), validations)


async def test_the_second_validation_of_a_token_is_answered_without_the_keystone() -> None:
    async with site() as here:
        first, second = await here.ask(), await here.ask()

    assert (first.status, second.status) == (200, 200)
    assert first.json() == second.json() == {"token": {"user": {"id": "1"}}}
    assert second.headers["x-subject-token"] == "one"
    assert "x-openstack-request-id" in first.headers
    assert "x-openstack-request-id" not in second.headers
    assert len(here.keystone.received) == 1
    assert here.validations.counts.answered == 1


async def test_the_keystone_is_asked_what_envoy_asked_without_headers_of_scopeway() -> None:
    async with site() as here:
        await here.ask(url=f"{TOKENS}?nocatalog", headers={"x-scopeway-origin": "cloud-9"})

    (received,) = here.keystone.received
    assert (received.method, received.location) == ("GET", f"{TOKENS}?nocatalog")
    assert received.headers["x-subject-token"] == "one"
    assert received.headers["x-scopeway-target"] == f"identity.validate@{HOME}"
    assert "x-scopeway-origin" not in received.headers
    assert "x-scopeway-service" not in received.headers


@pytest.mark.parametrize(
    ("token", "url"), [("two", TOKENS), ("one", f"{TOKENS}?nocatalog"), ("one", f"{TOKENS}?a=b")]
)
async def test_another_token_or_question_is_asked_of_the_keystone(token: str, url: str) -> None:
    async with site() as here:
        await here.ask()
        await here.ask(token, url=url)

    assert len(here.keystone.received) == 2


async def test_a_service_that_enforces_no_access_rules_gets_no_answer_of_one_that_does() -> None:
    async def rules(received: Received, writer: asyncio.StreamWriter) -> None:
        enforced = "openstack-identity-access-rules" in received.headers
        await (VALID if enforced else answer(b"", 404))(received, writer)

    async with site(rules) as it:
        new = await it.ask(headers={"OpenStack-Identity-Access-Rules": "1.0"})
        old = await it.ask()

    assert (new.status, old.status) == (200, 404)


async def test_a_token_that_does_not_validate_itself_is_always_asked() -> None:
    async with site() as here:
        for _ in range(2):
            await here.ask(headers={"x-auth-token": "of a service"})
        await here.ask(headers={"x-auth-token": ""})

    assert len(here.keystone.received) == 3


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
async def test_only_a_success_is_kept(status: int) -> None:
    async with site(json_answer({"error": {}}, status)) as here:
        assert [(await here.ask()).status for _ in range(2)] == [status, status]

    assert len(here.keystone.received) == 2


async def test_an_answer_of_envoy_itself_is_passed_on_and_not_kept() -> None:
    headers = {"x-scopeway-rejected": "true"}
    async with site(json_answer({}, 200, headers)) as here:
        for _ in range(2):
            assert (await here.ask()).headers["x-scopeway-rejected"] == "true"

    assert len(here.keystone.received) == 2


async def test_a_head_request_is_always_asked() -> None:
    async with site(answer()) as here:
        for _ in range(2):
            assert (await here.ask(method="HEAD")).status == 200

    assert [each.method for each in here.keystone.received] == ["HEAD", "HEAD"]


async def test_equal_validations_at_a_time_are_one_question() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(received: Received, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await go_on.wait()
        await VALID(received, writer)

    async with site(slow) as here:
        tasks = [asyncio.create_task(here.ask()) for _ in range(20)]
        await asked.wait()
        await here.keystone.until(lambda: here.validations.counts.shared == 19)
        go_on.set()
        answers = await asyncio.gather(*tasks)

    assert {each.status for each in answers} == {200}
    assert len(here.keystone.received) == 1


async def test_the_others_are_answered_if_the_first_client_leaves() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(received: Received, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await go_on.wait()
        await VALID(received, writer)

    async with site(slow) as here:
        first = asyncio.create_task(here.ask())
        await asked.wait()
        second = asyncio.create_task(here.ask())
        await here.keystone.until(lambda: here.validations.counts.shared == 1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        go_on.set()
        assert (await second).status == 200

    assert len(here.keystone.received) == 1


async def test_a_revocation_forgets_the_token_and_reaches_the_keystone() -> None:
    async with site() as here:
        await here.ask()
        here.keystone.behaviours[HOME] = answer(b"", 204)
        revoked = await here.ask(method="DELETE", headers={"x-auth-token": "of the user"})
        here.keystone.behaviours[HOME] = json_answer({}, 404)
        after = await here.ask()

    assert (revoked.status, after.status) == (204, 404)
    assert [each.method for each in here.keystone.received] == ["GET", "DELETE", "GET"]


async def test_an_answer_from_before_a_revocation_is_not_kept_or_shared() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(received: Received, writer: asyncio.StreamWriter) -> None:
        if received.method == "DELETE":
            await answer(b"", 204)(received, writer)
            return
        asked.set()
        await go_on.wait()
        await VALID(received, writer)

    async with site(slow) as here:
        before = asyncio.create_task(here.ask())
        await asked.wait()
        await here.ask(method="DELETE")
        here.keystone.behaviours[HOME] = json_answer({}, 404)
        assert (await here.ask()).status == 404  # though the first one is still under way
        go_on.set()
        assert (await before).status == 200
        assert (await here.ask()).status == 404


@pytest.mark.parametrize(
    ("method", "url", "target", "status"),
    [
        ("POST", TOKENS, f"identity.validate@{HOME}", 404),
        ("GET", "/v3/users", f"identity.validate@{HOME}", 404),
        ("GET", f"{TOKENS}/x", f"identity.validate@{HOME}", 404),
        ("GET", TOKENS, "identity.validate@cloud-2", 400),
        ("GET", TOKENS, f"identity@{HOME}", 400),
    ],
)
async def test_nothing_else_is_answered(method: str, url: str, target: str, status: int) -> None:
    async with site() as here:
        response = await here.ask(method=method, url=url, headers={"x-scopeway-target": target})

    assert response.status == status
    assert here.keystone.received == []


async def test_an_envoy_that_is_away_is_said_to_be() -> None:
    async with site() as here:
        here.keystone.path.unlink()
        response = await here.ask()

    assert response.status == 503
    assert "own Envoy cannot be reached" in response.json()["error"]["message"]


async def test_an_answer_that_is_too_large_is_a_502() -> None:
    async with site(answer(b"x" * (MAX_ANSWER + 1))) as here:
        large = await here.ask()
        here.keystone.behaviours[HOME] = answer(b"x" * MAX_ANSWER)
        largest = await here.ask()

    assert (large.status, largest.status) == (502, 200)
    assert len(largest.body) == MAX_ANSWER


async def test_validations_under_way_are_limited() -> None:
    go_on = asyncio.Event()

    async def slow(received: Received, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        await VALID(received, writer)

    async with site(slow, connections=2) as here:
        tasks = [asyncio.create_task(here.ask(token)) for token in ("one", "two")]
        await here.keystone.until(lambda: len(here.keystone.received) == 2)
        refused = await here.ask("three")
        go_on.set()
        answers = await asyncio.gather(*tasks)
        after = await here.ask("three")

    assert refused.status == 0  # no answer: the connection is closed
    assert [each.status for each in (*answers, after)] == [200, 200, 200]


async def test_a_question_ends_when_all_who_asked_have_left() -> None:
    async with site(silence) as it:
        clients = [asyncio.create_task(it.ask()) for _ in range(2)]
        await it.keystone.until(lambda: it.keystone.under_way == 1)
        await it.keystone.until(lambda: it.validations.counts.shared == 1)
        clients[0].cancel()
        await asyncio.sleep(0.05)
        still = it.keystone.under_way
        clients[1].cancel()
        await it.keystone.until(lambda: it.keystone.under_way == 0)

    assert still == 1


async def test_a_revocation_goes_on_when_its_client_leaves() -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def slow(received: Received, writer: asyncio.StreamWriter) -> None:
        if received.method == "DELETE":
            asked.set()
            await go_on.wait()
            await answer(b"", 204)(received, writer)
        else:
            await VALID(received, writer)

    async with site(slow) as here:
        revocation = asyncio.create_task(here.ask(method="DELETE"))
        await asked.wait()
        revocation.cancel()
        await asyncio.gather(revocation, return_exceptions=True)
        for _ in range(2):  # neither answer is kept: the Keystone may have given it before
            assert (await here.ask()).status == 200
        go_on.set()

    assert [each.method for each in here.keystone.received] == ["DELETE", "GET", "GET"]
