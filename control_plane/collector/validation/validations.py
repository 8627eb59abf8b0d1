"""Validations of tokens by the site's own Keystone, on `validate.sock`.

The peer and the front send here what is about a token: a validation for another cloud, after the
policy has allowed it, and a revocation. What the cache cannot answer goes on to the Keystone,
through the own Envoy. Several equal validations at a time are one question to the Keystone.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scopeway.control_plane.collector.http.byte_budget import Account, ByteBudget
from scopeway.control_plane.collector.http.client import Client
from scopeway.control_plane.collector.http.exchange import Exchange
from scopeway.control_plane.collector.http.server import Server, Writer
from scopeway.control_plane.collector.http.sockets import COLLECT, VALIDATIONS, bound_socket
from scopeway.control_plane.collector.limits import Limits
from scopeway.control_plane.collector.messages.answer import Answer, reason_of
from scopeway.control_plane.collector.messages.report import error_body
from scopeway.control_plane.collector.messages.request import Header, Refused
from scopeway.control_plane.collector.validation.validation_cache import Answer as CachedAnswer
from scopeway.control_plane.collector.validation.validation_cache import Key, ValidationCache

SECONDS: Final = 8.0
"""In which the Keystone has to answer; the peer waits for 9 s."""
MAX_ANSWER: Final = 1 << 20
"""Bytes of an answer that is passed on."""

_PATH: Final = re.compile(rb"/v3/auth/tokens(\?.*)?")
_METHODS: Final = ("GET", "HEAD", "DELETE")
_NOT_PASSED_ON: Final = frozenset(
    (b"connection", b"content-length", b"keep-alive", b"te", b"transfer-encoding", b"upgrade")
)
_OF_ONE_ANSWER: Final = frozenset((b"date", b"x-openstack-request-id"))
"""Headers of an answer that is kept, which are true of the first request only."""
_ACCESS_RULES: Final = b"openstack-identity-access-rules"
"""A service sends it if it enforces the access rules of tokens. Others may not get such tokens."""
_KEPT_SCOPEWAY: Final = b"x-scopeway-rejected"


CONNECTIONS: Final = 1024
"""Connections to `validate.sock`, one for each validation under way."""


@asynccontextmanager
async def serving_validations(
    folder: Path,
    cloud: str,
    *,
    seconds: float,
    users: frozenset[int],
    connections: int = CONNECTIONS,
) -> AsyncIterator["Validations"]:
    """Answer validations while the context lasts, in a folder that a collector has taken.

    Args:
        folder: Of the sockets.
        cloud: The site's own.
        seconds: How long an answer is kept, at most `MAX_SECONDS`.
        users: Uids whose processes may be at the other end of either socket.
        connections: How many validations may be under way.

    Raises:
        ControlPlaneError: It cannot listen in that folder.
    """
    limits = Limits(connections=connections)
    budget = ByteBudget(limits)
    client = Client(str(folder / COLLECT), limits, budget, users)
    cache = ValidationCache(seconds, asyncio.get_running_loop().time)
    validations = Validations(cloud, client, cache)
    path = folder / VALIDATIONS
    server = Server(validations.serve, limits=limits, users=users, bodies=budget.reserve)
    listening = bound_socket(path)
    try:
        await server.listen(listening)
        yield validations
    finally:
        await server.close(SECONDS)
        client.close()
        path.unlink(missing_ok=True)


class Counts:
    """What became of validations, since the start."""

    def __init__(self) -> None:
        self.answered = 0
        """By the cache."""
        self.shared = 0
        """By the answer to an equal validation that was under way."""
        self.asked = 0
        """By the Keystone."""
        self.revocations = 0


@dataclass(slots=True)
class _Question:
    """A validation that is asked of the Keystone, and how many clients wait for its answer."""

    task: asyncio.Task[Answer]
    waiting: int = 0


class Validations:
    """Answers validations from the cache, or asks the Keystone."""

    def __init__(self, cloud: str, client: Client, cache: ValidationCache) -> None:
        """Ask the Keystone of `cloud`, the site's own, through `client`."""
        self._target = f"identity.validate@{cloud}".encode()
        self._cloud = cloud
        self._client = client
        self._cache = cache
        self._under_way: dict[Key, _Question] = {}
        self._revoking: set[asyncio.Task[Answer]] = set()
        self.counts = Counts()

    async def serve(
        self, method: str, url: bytes, headers: list[Header], body: bytes, out: Writer
    ) -> None:
        """Answer one request of Envoy.

        Raises:
            Refused: It is neither a validation nor a revocation.
        """
        found: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            found.setdefault(name.lower(), []).append(value)
        if found.get(b"x-scopeway-target") != [self._target]:
            raise Refused(400, "x-scopeway-target is not that of this site's validations")
        if method not in _METHODS or _PATH.fullmatch(url) is None:
            raise Refused(404, "only validations and revocations of tokens are answered here")
        data = self._encode(method, url, headers)
        token = _only(found, b"x-subject-token")
        key = self._key(method, url, token, found)
        if method == "DELETE" and token is not None:
            # a client that leaves ends no revocation: the Keystone may be carrying it out
            task = asyncio.get_running_loop().create_task(self._revoke(token, data))
            self._revoking.add(task)
            task.add_done_callback(self._revoking.discard)
            answer = await asyncio.shield(task)
        elif key is None:
            self.counts.asked += 1
            answer = await self._ask(data, head_only=method == "HEAD")
        else:
            kept = self._cache.get(key)
            if kept is not None:
                self.counts.answered += 1
                out.whole(200, list(kept.headers), kept.body)
                return
            answer = await self._shared(key, data)
        _pass_on(answer, out)

    def _key(
        self, method: str, url: bytes, token: bytes | None, found: Mapping[bytes, Sequence[bytes]]
    ) -> Key | None:
        """Return the key of a validation that may be kept.

        Only a token that validates itself: what another one may see of it is the Keystone's to
        decide. The front of the other cloud makes it so.
        """
        if method != "GET" or token is None or token != _only(found, b"x-auth-token"):
            return None
        # the Keystone says `Vary: X-Auth-Token`; no host or forwarded header changes its answer
        rules = b",".join(found.get(_ACCESS_RULES, ()))
        return self._cache.key(token, b"%b %b" % (url, rules))

    async def _shared(self, key: Key, data: bytes) -> Answer:
        """Return the answer to a validation, one question to the Keystone for all equal ones."""
        question = self._under_way.get(key)
        if question is None:
            self.counts.asked += 1
            task = asyncio.get_running_loop().create_task(self._validate(key, data))
            question = self._under_way[key] = _Question(task)
        else:
            self.counts.shared += 1
        question.waiting += 1
        try:
            return await asyncio.shield(question.task)  # others wait on if this client leaves
        finally:
            question.waiting -= 1
            if not question.waiting:  # else clients that leave would pile up questions
                self._forget(key, question.task)
                question.task.cancel()

    async def _validate(self, key: Key, data: bytes) -> Answer:
        asked_at = self._cache.now()
        try:
            answer = await self._ask(data)
        finally:
            self._forget(key, asyncio.current_task())
        if answer.status == 200 and not answer.cause and not answer.is_rejected:
            headers = tuple(each for each in _headers(answer) if each[0] not in _OF_ONE_ANSWER)
            self._cache.put(key, CachedAnswer(headers, bytes(answer.body)), asked_at)
        return answer

    def _forget(self, key: Key, task: asyncio.Task[Answer] | None) -> None:
        found = self._under_way.get(key)
        if found is not None and found.task is task:
            del self._under_way[key]

    async def _revoke(self, token: bytes, data: bytes) -> Answer:
        self.counts.revocations += 1
        self._under_way.clear()  # what is under way may be of before; nobody else shares it
        self._cache.begin_revocation(token)
        try:
            return await self._ask(data)
        finally:
            self._cache.end_revocation()

    async def _ask(self, data: bytes, *, head_only: bool = False) -> Answer:
        """Ask the Keystone."""
        budget = self._client.budget
        account = Account()
        account.needs = lambda: True
        done = asyncio.get_running_loop().create_future()

        def complete(_: Exchange) -> None:
            if not done.done():
                done.set_result(None)

        exchange = Exchange(
            self._client, self._cloud, (data,), account,
            head_only=head_only, limit=MAX_ANSWER, seconds=SECONDS, fresh=False, on_done=complete,
        )  # fmt: skip
        budget.open(account)
        try:
            self._client.start(exchange)
            await done
            return copy(exchange.answer)  # its own one loses the body below
        finally:
            exchange.reset()
            budget.close(account)

    def _encode(self, method: str, url: bytes, headers: Sequence[Header]) -> bytes:
        lines = [b"%b %b HTTP/1.1" % (method.encode(), url), b"x-scopeway-target: " + self._target]
        for name, value in headers:
            key = name.lower()
            if key not in _NOT_PASSED_ON and not key.startswith(b"x-scopeway-"):
                lines.append(key + b": " + value)
        return b"\r\n".join((*lines, b"", b""))


def _only(found: Mapping[bytes, Sequence[bytes]], name: bytes) -> bytes | None:
    """Return the value of a header that there is once."""
    values = found.get(name, ())
    return values[0] if len(values) == 1 and values[0] else None


def _headers(answer: Answer) -> list[Header]:
    return [
        (name, value)
        for name, value in answer.headers
        if name not in _NOT_PASSED_ON
        and (name == _KEPT_SCOPEWAY or not name.startswith(b"x-scopeway-"))
    ]


def _pass_on(answer: Answer, out: Writer) -> None:
    if answer.cause:
        out.error(answer.status, error_body(answer.status, reason_of(answer)))
        return
    out.whole(answer.status, _headers(answer), bytes(answer.body))
