"""In what delta and the state of the world differ on a stream.

Owns the choice only; the rules themselves are in `xds.protocol.delta` (delta) and
`xds.protocol.sotw`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from scopeway.xds import type_urls as types
from scopeway.xds.encoding.messages import (
    WILDCARD,
    DeltaRequest,
    Encoded,
    ErrorDetail,
    SotwRequest,
    delta_request_steps,
    delta_response,
    sotw_framed,
    sotw_request_steps,
    sotw_response,
)
from scopeway.xds.protocol.delta import DeltaSubscription
from scopeway.xds.protocol.sotw import EMPTY_VERSION, FULL_STATE_TYPES, SotwSubscription
from scopeway.xds.protocol.subscription_state import ResponseContent, SubscriptionState
from scopeway.xds.source import NodeView
from scopeway.xds.steps import STRIDE, Steps

Request = TypeVar("Request", DeltaRequest, SotwRequest)
_RequestContra = TypeVar("_RequestContra", DeltaRequest, SotwRequest, contravariant=True)


class TypeRules(Protocol[_RequestContra]):
    """The rules for one type on one stream, as far as its session needs them."""

    state: SubscriptionState

    @property
    def settled(self) -> bool:
        """Whether the client has answered all there was, removals that wait left out."""

    @property
    def kept(self) -> int:
        """The number of resources that the client keeps, as the source is outdated."""

    @property
    def acked(self) -> int:
        """The number of resources that the client has, as far as is known."""

    def receive(self, request: _RequestContra, stale: bool) -> Steps[int]:
        """Take in what a request says of names; return how many were skipped as too many.

        `stale`: it bears the nonce of an earlier response than the one in flight.
        """

    def caught_up(self) -> bool:
        """The source is outdated no longer; return whether the client has kept anything."""

    def acknowledge(self, now: float) -> Steps[None]:
        """The client took the response in flight."""

    def reject(self, error: ErrorDetail) -> Steps[tuple[str, ...]]:
        """The client rejected the response in flight; return the names that it held."""

    def next_response(self, now: float) -> Steps[ResponseContent | None]:
        """Return what to send now, which is in flight from then on; None if there is nothing."""

    def next_removals(self) -> ResponseContent | None:
        """Return the removals that waited for everything else; None if there are none."""


@dataclass(frozen=True, kw_only=True)
class ProtocolVariant(Generic[Request]):
    """In what delta and the state of the world differ on a stream."""

    open: Callable[[str, NodeView, int, int], TypeRules[Request]]
    """From a type, its view, the limits of an answer's bytes and of names."""
    decode: Callable[[bytes, bool, int, int, str], Steps[Request]]
    """From bytes, as `xds.encoding.messages.delta_request_steps`."""
    encode: Callable[[str, str, ResponseContent], Steps[list[Encoded]]]
    """From a type, a nonce and what to say; what it returns is yet to be joined."""
    unserved: Callable[[Request, bool], ResponseContent | None]
    """What to say to a request for a type that isn't served, and whether it is the first one."""
    ttls_wrapped: bool
    """Whether a TTL goes into a wrapper that not every client knows."""


def _open_delta(
    type_url: str, view: NodeView, limit: int, names_limit: int
) -> TypeRules[DeltaRequest]:
    return DeltaSubscription(
        type_url,
        view,
        limit=limit,
        names_limit=names_limit,
        removals_last=type_url == types.CLUSTER,
    )


def _open_sotw(
    type_url: str, view: NodeView, limit: int, names_limit: int
) -> TypeRules[SotwRequest]:
    return SotwSubscription(type_url, view, limit=limit, names_limit=names_limit)


def _encode_delta(type_url: str, nonce: str, content: ResponseContent) -> Steps[list[Encoded]]:
    yield
    return delta_response(
        type_url=type_url, nonce=nonce, resources=content.resources, removed=content.removed
    )


def _encode_sotw(type_url: str, nonce: str, content: ResponseContent) -> Steps[list[Encoded]]:
    yield
    parts: list[Encoded] = []
    for count, found in enumerate(content.resources, 1):
        parts.append(sotw_framed(found))
        if not count % STRIDE:
            yield
    return sotw_response(
        type_url=type_url, nonce=nonce, version_info=content.version_info, framed=parts
    )


def _unserved_delta(request: DeltaRequest, first: bool) -> ResponseContent | None:
    """Say of each name that there is nothing; a new wildcard is answered, too."""
    names = [name for name in dict.fromkeys(request.subscribe) if name != WILDCARD]
    wildcard = WILDCARD in request.subscribe or (first and request.names_empty)
    return ResponseContent(removed=names) if names or wildcard else None


def _unserved_sotw(request: SotwRequest, first: bool) -> ResponseContent | None:
    """Say once that the complete state is empty; of other types a client is told no absence."""
    whole = request.type_url in FULL_STATE_TYPES or request.names_empty or WILDCARD in request.names
    return ResponseContent(version_info=EMPTY_VERSION) if first and whole else None


DELTA: Final = ProtocolVariant[DeltaRequest](
    open=_open_delta,
    decode=delta_request_steps,
    encode=_encode_delta,
    unserved=_unserved_delta,
    ttls_wrapped=False,
)
SOTW: Final = ProtocolVariant[SotwRequest](
    open=_open_sotw,
    decode=sotw_request_steps,
    encode=_encode_sotw,
    unserved=_unserved_sotw,
    ttls_wrapped=True,
)
