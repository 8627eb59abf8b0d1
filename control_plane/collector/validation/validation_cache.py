"""Answers of a Keystone to validations of tokens, kept for seconds.

A fan-out over a thousand clouds makes each of them validate the same token, all at one Keystone.
This cache answers all but the first. It stands at the site of that Keystone, behind the policy.

Bounds: an answer lives at most `MAX_SECONDS`, so a revoked token or a disabled user works so much
longer at other clouds. A revocation that passes the front or the peer of this site counts at once.
Holds hashes of tokens, not the tokens. Pure: the caller passes the time.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2b
from secrets import token_bytes
from typing import Final

from scopeway.control_plane.collections.byte_cache import ByteBoundedCache

MAX_SECONDS: Final = 5.0
"""The longest life of an answer, and so of a revoked token at other clouds."""
MAX_ANSWER: Final = 64 * 1024
"""Bytes of an answer that is kept; that of a token with a large catalog has some 20 kB."""
MAX_BYTES: Final = 16 * 1024 * 1024
"""Bytes of all answers that are kept."""
MAX_VARIANTS: Final = 4
"""Answers of one token: with and without its catalog, for instance."""
_OVERHEAD: Final = 512

Key = tuple[bytes, bytes]
"""The hash of a token, and the hash of what else the answer depends on."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer 200 to a validation."""

    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


@dataclass(slots=True)
class _Token:
    """What is kept of one token."""

    variants: dict[bytes, tuple[Answer, float]] = field(default_factory=dict)
    """The hash of a question to its answer, and the time at which that was asked for."""

    def size(self) -> int:
        return sum(
            _OVERHEAD
            + len(answer.body)
            + sum(len(name) + len(value) for name, value in answer.headers)
            for answer, _ in self.variants.values()
        )


class ValidationCache:
    """The last answers, each for a few seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float]) -> None:
        """Keep answers for so many seconds, at most `MAX_SECONDS`, of a clock that only goes on."""
        self._seconds = min(seconds, MAX_SECONDS)
        self._clock = clock
        self._salt = token_bytes(16)
        self._tokens: ByteBoundedCache[bytes, _Token] = ByteBoundedCache(
            MAX_BYTES, lambda _, token: token.size()
        )
        self._revoked_at = -1.0
        """The last time at which a revocation was under way."""
        self._revocations = 0
        """Those under way."""

    def now(self) -> float:
        """Return the time of the cache's clock."""
        return self._clock()

    def key(self, token: bytes, question: bytes) -> Key:
        """Return the key of a validation.

        Args:
            token: The subject token, which must be the one that authorizes the request, too: then
                the answer is the same for every caller.
            question: All else that the answer depends on: the path with its query, and whether the
                caller enforces access rules.
        """
        return self._hash(token), self._hash(question)

    def get(self, key: Key) -> Answer | None:
        """Return an answer that is young enough."""
        token = self._tokens.get(key[0])
        found = token.variants.get(key[1]) if token is not None else None
        if found is None or self._clock() - found[1] >= self._seconds:
            return None
        return found[0]

    def put(self, key: Key, answer: Answer, asked_at: float) -> None:
        """Keep an answer.

        Args:
            key: Of the validation.
            answer: Of the Keystone, with status 200.
            asked_at: When the Keystone was asked. An answer is dropped if a revocation was under
                way since: it may be older than the revocation.
        """
        if self._revocations or asked_at <= self._revoked_at or len(answer.body) > MAX_ANSWER:
            return
        token = self._tokens.pop(key[0]) or _Token()
        token.variants.pop(key[1], None)
        while len(token.variants) >= MAX_VARIANTS:
            del token.variants[next(iter(token.variants))]
        token.variants[key[1]] = answer, asked_at
        self._tokens.put(key[0], token)

    def begin_revocation(self, token: bytes) -> None:
        """Forget a token, and keep no answer until `end_revocation`."""
        self._revocations += 1
        self._tokens.pop(self._hash(token))

    def end_revocation(self) -> None:
        """Keep the answers to what is asked from now on."""
        self._revocations -= 1
        self._revoked_at = self._clock()

    def __len__(self) -> int:
        """Return the number of tokens with answers, old ones included."""
        return len(self._tokens)

    def _hash(self, text: bytes) -> bytes:
        return blake2b(text, digest_size=16, key=self._salt).digest()
