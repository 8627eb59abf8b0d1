"""A client of a source, for tests: what an Envoy would be sent, without a network.

    async with xds.testing.Client(cache, node_id="edge-1") as client:
        await client.subscribe(xds.CLUSTER)
        assert client.resources(xds.CLUSTER) == {"a": bytes(Cluster(name="a"))}

The client uses the session of a real stream: all rules of the protocol hold. It takes what it is
sent, and rejects what `reject` says.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, TypeAlias

from scopeway.xds.arguments import check_names
from scopeway.xds.encoding import protobuf as wire
from scopeway.xds.encoding.messages import WILDCARD, DeltaRequest, ErrorDetail, SotwRequest
from scopeway.xds.encoding.packing import check_type_url
from scopeway.xds.events import SessionEvent
from scopeway.xds.limits import Limits
from scopeway.xds.lookup_tasks import LookupTasks
from scopeway.xds.notifier import ChangeNotifier, HasNotifier, Member
from scopeway.xds.protocol.session import DeltaSession, Response, Session, SotwSession
from scopeway.xds.protocol.sotw import FULL_STATE_TYPES
from scopeway.xds.source import UNKNOWN_LOCALITY, Locality, Node, Source

_WRAPPED: Final = "type.googleapis.com/envoy.service.discovery.v3.Resource"
_FEATURES: Final = frozenset({"xds.config.supports-resource-ttl", "xds.config.resource-in-sotw"})
_INTERNAL: Final = 13
"""The code of google.rpc.Code that Envoy puts into each NACK."""

_Session: TypeAlias = Session[DeltaRequest] | Session[SotwRequest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A response of the server."""

    type_url: str
    resources: Mapping[str, bytes]
    """The encoded messages, by the name of the resource."""
    removed: tuple[str, ...] = ()
    """Names of which the server says that there is no resource; delta only."""
    version_info: str = ""
    """Of the whole response; state of the world only."""
    nonce: str = field(default="", compare=False)


class Client:
    """One stream of a client, ADS, on delta or in the state of the world.

    To be used with `async with`, on the event loop on which the source is used.

    Args:
        source: What is tested.
        notifier: What the source tells its changes; None: `source.notifier` if it has one.
        node_id: The id of the client's node.
        cluster: The cluster of the client's node.
        metadata: The metadata of the client's node, as of `Node.metadata`.
        locality: Where the client's node runs.
        identities: What TLS would have proven of the client (`Node.identities`).
        sotw: Speak state of the world; otherwise delta.
        reject: From a response, why the client rejects it (a NACK), or None: it takes the response
            (an ACK). None: it takes all.
    """

    def __init__(
        self,
        source: Source,
        *,
        notifier: ChangeNotifier | None = None,
        node_id: str = "test-node",
        cluster: str = "",
        metadata: Mapping[str, str] | None = None,
        locality: Locality = UNKNOWN_LOCALITY,
        identities: tuple[str, ...] | None = None,
        sotw: bool = False,
        reject: Callable[[Received], str | None] | None = None,
    ) -> None:
        self.received: list[Received] = []
        """All responses, in the order in which they came."""
        self.events: list[SessionEvent] = []
        """What the server would log of the stream, and tell an `Observer`."""
        self.node = Node(
            id=node_id,
            cluster=cluster,
            metadata=metadata or {},
            locality=locality,
            client_features=_FEATURES,
        )
        """What the client says of itself."""
        self._sotw = sotw
        self._reject = reject
        session: _Session = (SotwSession if sotw else DeltaSession)(source, identities=identities)
        self._session: Any = session  # a request for it is of one kind or of the other
        own = source.notifier if isinstance(source, HasNotifier) else None
        self._notifier = own if notifier is None else notifier
        self._member: Member | None = None
        self._lookups = LookupTasks(Limits().lookups, session.lookup_finished)
        self._wanted: dict[str, dict[str, None]] = {}
        self._held: dict[str, dict[str, bytes]] = {}

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._member is not None and self._notifier is not None:
            self._notifier.leave(self._member)
        self._session.close()
        self._lookups.close()

    async def subscribe(self, type_url: str, *names: str) -> list[Received]:
        """Ask for resources by name, or for all of a type (the wildcard) by naming none.

        Returns:
            As `update`.

        Raises:
            ProtocolError: the server ends the stream, for example since it doesn't serve the node.
        """
        self._check(type_url, names)
        added = dict.fromkeys(names or (WILDCARD,))
        wanted = self._wanted.setdefault(type_url, {})
        wanted |= added
        if self._sotw:
            self._send(SotwRequest(type_url=type_url, **self._listed(type_url), **self._node()))
        else:
            request = DeltaRequest(
                type_url=type_url, subscribe=tuple(added), names_empty=False, **self._node()
            )
            self._send(request)
        return await self.update()

    async def unsubscribe(self, type_url: str, *names: str) -> list[Received]:
        """Say that names are wanted no more, or with none named, that the wildcard is not.

        Returns:
            As `update`.
        """
        self._check(type_url, names)
        dropped = names or (WILDCARD,)
        wanted = self._wanted.setdefault(type_url, {})
        for name in dropped:
            wanted.pop(name, None)
            self._held.get(type_url, {}).pop(name, None)
        if WILDCARD in dropped:
            held = self._held.get(type_url, {})
            self._held[type_url] = {name: body for name, body in held.items() if name in wanted}
        if self._sotw:
            self._send(SotwRequest(type_url=type_url, **self._listed(type_url), **self._node()))
        else:
            request = DeltaRequest(
                type_url=type_url, unsubscribe=tuple(dropped), names_empty=False, **self._node()
            )
            self._send(request)
        return await self.update()

    async def update(self) -> list[Received]:
        """Take all that the source has for the client now; return the responses, in order.

        Awaits what the source answers later. Returns at once what there is if the source says
        `PENDING`.
        """
        before = len(self.received)
        while True:
            responses = self._session.responses_to_send(self._now())
            self._settle()
            for response in responses:
                self._take(response)
            if not responses and not await self._lookups.wait():
                return self.received[before:]

    def resources(self, type_url: str) -> Mapping[str, bytes]:
        """Return the encoded messages that the client holds of a type, by name."""
        return dict(self._held.get(type_url, {}))

    def _take(self, response: Response) -> None:
        received = (_read_sotw if self._sotw else _read_delta)(response.data)
        self.received.append(received)
        reason = None if self._reject is None else self._reject(received)
        if reason is None:
            held = self._held.setdefault(received.type_url, {})
            if self._sotw and received.type_url in FULL_STATE_TYPES:
                held.clear()
            held.update(received.resources)
            for name in received.removed:
                held.pop(name, None)
        error = None if reason is None else ErrorDetail(code=_INTERNAL, message=reason)
        type_url, nonce = received.type_url, received.nonce
        if self._sotw:
            self._send(
                SotwRequest(
                    type_url=type_url,
                    response_nonce=nonce,
                    version_info=received.version_info,
                    error=error,
                    **self._listed(type_url),
                )
            )
        else:
            self._send(DeltaRequest(type_url=type_url, response_nonce=nonce, error=error))

    def _send(self, request: DeltaRequest | SotwRequest) -> None:
        self._session.receive(request, self._now())
        self._settle()

    def _settle(self) -> None:
        """Do what the owner of a session has to do after each use."""
        self._lookups.start(self._session.new_lookups())
        self.events += self._session.events()
        if self._notifier is None:
            return
        if self._member is None:
            self._member = self._notifier.join(self._session, self._session.group, _nothing)
        else:
            self._notifier.update_interests(self._member)

    def _node(self) -> dict[str, Any]:
        return {"node": self.node if self._session.node is None else None}

    def _listed(self, type_url: str) -> dict[str, Any]:
        names = tuple(self._wanted.get(type_url, ()))
        return {"names": names, "names_empty": not names}

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    @staticmethod
    def _check(type_url: str, names: Collection[str]) -> None:
        check_type_url(type_url)
        for name in names:
            if not isinstance(name, str):
                check_names(name, "a name")
                raise TypeError(f"pass names one by one, not {name!r}")


def _nothing() -> None:
    """A change is taken by the next `Client.update`."""


def _read_delta(data: bytes) -> Received:
    type_url = nonce = ""
    resources: dict[str, bytes] = {}
    removed: list[str] = []
    for number, start, end in wire.fields(data):
        if number == 2:
            envelope = _fields(data[start:end])
            if 2 in envelope:  # otherwise a heartbeat: what the client has lives on
                resources[envelope[3].decode()] = _fields(envelope[2]).get(2, b"")
        elif number == 4:
            type_url = data[start:end].decode()
        elif number == 5:
            nonce = data[start:end].decode()
        elif number == 6:
            removed.append(data[start:end].decode())
    return Received(type_url=type_url, resources=resources, removed=tuple(removed), nonce=nonce)


def _read_sotw(data: bytes) -> Received:
    type_url = nonce = version = ""
    resources: dict[str, bytes] = {}
    for number, start, end in wire.fields(data):
        if number == 1:
            version = data[start:end].decode()
        elif number == 2:
            any_message = _fields(data[start:end])
            body = any_message.get(2, b"")
            if any_message[1].decode() == _WRAPPED:
                envelope = _fields(body)
                resources[envelope[3].decode()] = _fields(envelope[2]).get(2, b"")
            else:  # the response has no names: they are in the messages, in the field 1
                resources[_fields(body).get(1, b"").decode(errors="replace")] = body
        elif number == 4:
            type_url = data[start:end].decode()
        elif number == 5:
            nonce = data[start:end].decode()
    return Received(type_url=type_url, resources=resources, version_info=version, nonce=nonce)


def _fields(data: bytes) -> dict[int, bytes]:
    return {number: data[start:end] for number, start, end in wire.fields(data)}
