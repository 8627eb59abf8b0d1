"""The two variants of the xDS transport protocol: delta and state of the world (SotW).

A `ProtocolVariant` selects the rules in `xds.protocol.delta` or `xds.protocol.sotw`, and the
messages.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from scopeway.xds import type_urls
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
    """What a session needs of the rules for one resource type."""

    state: SubscriptionState

    @property
    def settled(self) -> bool:
        """Whether the client has acknowledged everything, apart from delayed removals."""

    @property
    def kept(self) -> int:
        """The number of resources that the client keeps while the source is outdated."""

    @property
    def acked(self) -> int:
        """The number of resources that the client has, as far as is known."""

    def receive(self, request: _RequestContra, stale: bool) -> Steps[int]:
        """Apply the subscriptions of a request; return how many names were over the limit.

        `stale`: the request has the nonce of an earlier response than the one in flight.
        """

    def caught_up(self) -> bool:
        """Note that the source is up to date again; return whether the client kept resources."""

    def acknowledge(self, now: float) -> Steps[None]:
        """Handle the ACK of the response in flight."""

    def reject(self, error: ErrorDetail) -> Steps[tuple[str, ...]]:
        """Handle the NACK of the response in flight; return the names in the response."""

    def next_response(self, now: float) -> Steps[ResponseContent | None]:
        """Return the next response, which is then in flight; None if there is nothing to send."""

    def next_removals(self) -> ResponseContent | None:
        """Return the delayed removals, which are then in flight; None if there are none."""


@dataclass(frozen=True, kw_only=True)
class ProtocolVariant(Generic[Request]):
    """What differs between delta and state of the world on a stream."""

    open: Callable[[str, NodeView, int, int], TypeRules[Request]]
    """Makes the rules from a type URL, its view, the bytes of a response and the names."""
    decode: Callable[[bytes, bool, int, int, str], Steps[Request]]
    """Decodes a request, like `xds.encoding.messages.delta_request_steps`."""
    encode: Callable[[str, str, ResponseContent], Steps[list[Encoded]]]
    """Encodes a response from a type URL, a nonce and the content; the caller joins the parts."""
    unserved: Callable[[Request, bool], ResponseContent | None]
    """Makes the response to a request for a type that is not served; None: no response. The
    second argument says whether it is the first request for the type."""
    ttls_wrapped: bool
    """Whether a TTL is sent in a wrapper message, which not every client supports."""


def _open_delta(
    type_url: str, view: NodeView, limit: int, names_limit: int
) -> TypeRules[DeltaRequest]:
    return DeltaSubscription(
        type_url,
        view,
        limit=limit,
        names_limit=names_limit,
        removals_last=type_url == type_urls.CLUSTER,
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
    """Remove each subscribed name; a new wildcard subscription gets an empty response."""
    names = [name for name in dict.fromkeys(request.subscribe) if name != WILDCARD]
    wildcard = WILDCARD in request.subscribe or (first and request.names_empty)
    return ResponseContent(removed=names) if names or wildcard else None


def _unserved_sotw(request: SotwRequest, first: bool) -> ResponseContent | None:
    """Send an empty full state once; other types have no response for absent resources."""
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
