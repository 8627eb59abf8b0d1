"""In what delta and the state of the world differ on a stream.

Owns the choice only; the rules themselves are in `xds.subscription` (delta) and `xds.sotw`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from xds import types
from xds.codec import (
    DeltaRequest,
    ErrorDetail,
    SotwRequest,
    decode_delta_request,
    decode_sotw_request,
    encode_delta_response,
    encode_sotw_response,
)
from xds.ledger import Answer, Ledger
from xds.sotw import SotwSubscription
from xds.source import NodeView
from xds.subscription import Subscription

Request = TypeVar("Request", DeltaRequest, SotwRequest)
_Contra = TypeVar("_Contra", DeltaRequest, SotwRequest, contravariant=True)


class TypeRules(Protocol[_Contra]):
    """The rules for one type on one stream, as far as its session needs them."""

    ledger: Ledger

    @property
    def settled(self) -> bool:
        """Whether the client has answered all there was, removals that wait left out."""

    @property
    def acked(self) -> int:
        """The number of resources that the client has, as far as is known."""

    def receive(self, request: _Contra, stale: bool) -> int:
        """Take in what a request says of names; return how many were skipped as too many.

        `stale`: it bears the nonce of an earlier response than the one in flight.
        """

    def acknowledge(self, now: float) -> None:
        """The client took the response in flight."""

    def reject(self, error: ErrorDetail) -> tuple[str, ...]:
        """The client rejected the response in flight; return the names that it held."""

    def take(self, now: float) -> Answer | None:
        """Return what to send now, which is in flight from then on; None if there is nothing."""

    def take_removals(self) -> Answer | None:
        """Return the removals that waited for everything else; None if there are none."""


@dataclass(frozen=True, kw_only=True)
class Dialect(Generic[Request]):
    """In what delta and the state of the world differ on a stream."""

    open: Callable[[str, NodeView | None, int, int], TypeRules[Request]]
    """From a type, its view, the limits of an answer's bytes and of names."""
    decode: Callable[..., Request]
    """From bytes, as `xds.codec.decode_delta_request`."""
    encode: Callable[[str, str, Answer], bytes]
    """From a type, a nonce and what to say."""
    ttls_wrapped: bool
    """Whether a TTL goes into a wrapper that not every client knows."""


def _open_delta(
    type_url: str, view: NodeView | None, limit: int, names_limit: int
) -> TypeRules[DeltaRequest]:
    return Subscription(
        type_url,
        view,
        limit=limit,
        names_limit=names_limit,
        removals_last=type_url == types.CLUSTER,
    )


def _open_sotw(
    type_url: str, view: NodeView | None, limit: int, names_limit: int
) -> TypeRules[SotwRequest]:
    return SotwSubscription(type_url, view, limit=limit, names_limit=names_limit)


DELTA: Final = Dialect[DeltaRequest](
    open=_open_delta,
    decode=decode_delta_request,
    encode=lambda type_url, nonce, answer: encode_delta_response(
        type_url=type_url, nonce=nonce, resources=answer.resources, removed=answer.removed
    ),
    ttls_wrapped=False,
)
SOTW: Final = Dialect[SotwRequest](
    open=_open_sotw,
    decode=decode_sotw_request,
    encode=lambda type_url, nonce, answer: encode_sotw_response(
        type_url=type_url,
        nonce=nonce,
        version_info=answer.version_info,
        resources=answer.resources,
    ),
    ttls_wrapped=True,
)
