"""Random clients, changes and reconnects: at rest, the client's mirror equals the store."""

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from xds_model import Received, Store, read_response, write_request

from xds.codec import decode_delta_request
from xds.session import DeltaSession
from xds.types import CLUSTER, ROUTE

TYPE_URLS = (CLUSTER, ROUTE)
type_urls = st.sampled_from(TYPE_URLS)
names = st.sampled_from(["a", "b", "c"])
texts = st.sampled_from(["1", "2", "bad 1", "bad 2"])


class Mirror:
    """One type as Envoy keeps it: what it subscribes to, and what it has taken over."""

    def __init__(self, partial: bool) -> None:
        self.partial = partial  # takes over the good part of a bad response
        self.named: set[str] = set()
        self.wildcard = False
        self.texts: dict[str, str] = {}
        self.versions: dict[str, str] = {}

    def unsubscribe(self, name: str) -> None:
        self.named.discard(name)
        if not self.wildcard:  # otherwise the wildcard may mean it, and the server will say
            self.forget(name)

    def leave_wildcard(self) -> None:
        self.wildcard = False
        for name in set(self.texts) - self.named:
            self.forget(name)

    def forget(self, name: str) -> None:
        self.texts.pop(name, None)
        self.versions.pop(name, None)

    def take(self, response: Received) -> str | None:
        """Take over what is good; return an error if something is bad."""
        bad = [name for name, text in response.texts.items() if text.startswith("bad")]
        if bad and not self.partial:
            return f"bad: {bad}"
        for name, text in response.texts.items():
            if name not in bad and (self.wildcard or name in self.named):
                self.texts[name] = text
                if not bad:  # as Envoy: the versions count only when all was good
                    self.versions[name] = response.versions[name]
        for name in response.removed:
            self.forget(name)
        return f"bad: {bad}" if bad else None


class Stream(RuleBasedStateMachine):
    """A client, a stream with messages on their way in both directions, and a changing store."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.mirrors: dict[str, Mirror] = {}
        self.connect()

    def connect(self) -> None:
        self.session = DeltaSession(self.store, answer_limit=250)
        self.requests: deque[bytes] = deque()
        self.responses: deque[Received] = deque()
        self.unanswered: dict[str, str] = {}
        self.interest: set[tuple[str, str]] = set()
        self.clock = 0.0

    @initialize(partial=st.booleans())
    def open(self, partial: bool) -> None:
        self.mirrors = {type_url: Mirror(partial) for type_url in TYPE_URLS}
        self.reconnect()

    @rule()
    def reconnect(self) -> None:
        self.connect()
        for type_url, mirror in self.mirrors.items():
            names = [*mirror.named, *(["*"] if mirror.wildcard else [])]
            # what an earlier server told and this one must not is only in the versions
            known = {n: v for n, v in mirror.versions.items() if mirror.wildcard or n in names}
            self.send(type_url, subscribe=names or ["never"], versions=known)
            if not names:
                self.send(type_url, unsubscribe=["never"])

    @rule(type_url=type_urls, name=names, again=st.booleans())
    def subscribe(self, type_url: str, name: str, again: bool) -> None:
        mirror = self.mirrors[type_url]
        mirror.named.add(name)
        if again:  # whatever the reason, the client has lost it
            mirror.forget(name)
        self.send(type_url, subscribe=[name])

    @rule(type_url=type_urls, name=names)
    def unsubscribe(self, type_url: str, name: str) -> None:
        if name in self.mirrors[type_url].named:
            self.mirrors[type_url].unsubscribe(name)
        self.send(type_url, unsubscribe=[name])

    @rule(type_url=type_urls, enter=st.booleans())
    def wildcard(self, type_url: str, enter: bool) -> None:
        if enter:
            self.mirrors[type_url].wildcard = True
            self.send(type_url, subscribe=["*"])
        else:
            self.mirrors[type_url].leave_wildcard()
            self.send(type_url, unsubscribe=["*"])

    @rule(type_url=type_urls, name=names, text=texts | st.none())
    def change(self, type_url: str, name: str, text: str | None) -> None:
        if text is None:
            self.store.texts.pop((type_url, name), None)
        else:
            self.store.texts[type_url, name] = text
        # as the hub does: only what the session said it wants
        if (type_url, name) in self.interest:
            self.session.resources_changed(type_url, [name])

    @rule(type_url=type_urls, members=st.sets(names))
    def change_wildcard(self, type_url: str, members: set[str]) -> None:
        self.store.wildcards[type_url] = sorted(members)
        self.session.wildcard_changed(type_url)

    @rule(type_url=type_urls, wildcard=st.booleans())
    def fill(self, type_url: str, wildcard: bool) -> None:
        """A client that has all there is."""
        for name, text in (("a", "1"), ("b", "1"), ("c", "1")):
            self.change(type_url, name, text)
            if not wildcard:
                self.subscribe(type_url, name, again=False)
        if wildcard:
            self.change_wildcard(type_url, {"a", "b", "c"})
            self.wildcard(type_url, enter=True)
        self.settle()

    @rule()
    def deliver_request(self) -> None:
        if self.requests:
            request = decode_delta_request(self.requests.popleft())
            if self.unanswered.get(request.type_url) == request.response_nonce:
                del self.unanswered[request.type_url]
            self.session.receive(request, self.clock)

    @rule()
    def push(self) -> None:
        for response in self.session.responses_to_send(self.clock):
            received = read_response(response.data)
            self.check_order(received)
            self.unanswered[received.type_url] = received.nonce
            self.responses.append(received)
        for type_url, name, wanted in self.session.interest_changes():
            (self.interest.add if wanted else self.interest.discard)((type_url, name))

    @rule()
    def deliver_response(self) -> None:
        if self.responses:
            response = self.responses.popleft()
            error = self.mirrors[response.type_url].take(response)
            self.send(response.type_url, nonce=response.nonce, error=error)

    def check_order(self, response: Received) -> None:
        """Never more than one response of a type in flight."""
        assert response.type_url not in self.unanswered

    def send(self, type_url: str, **fields: object) -> None:
        first = not self.requests and self.session.node is None
        request = write_request(
            type_url,
            node=("site/1", "site") if first else None,
            **fields,  # type: ignore[arg-type]
        )
        self.requests.append(request)

    @rule()
    def rest(self) -> None:
        """Come to rest often: most of what can go wrong begins with a client that has something."""
        self.settle()
        for type_url, mirror in self.mirrors.items():
            self.check_at_rest(type_url, mirror)
        assert self.interest == set(self.session.interests())

    def teardown(self) -> None:
        self.rest()

    def settle(self) -> None:
        for _ in range(1000):
            self.deliver_request()
            self.push()
            self.deliver_response()
            if not self.requests and not self.responses:
                return
        raise AssertionError("client and server never come to rest")

    def check_at_rest(self, type_url: str, mirror: Mirror) -> None:
        members = self.store.wildcards.get(type_url, []) if mirror.wildcard else []
        wanted = mirror.named | set(members)
        for name in wanted:
            text = self.store.texts.get((type_url, name))
            if text is None or not text.startswith("bad"):
                assert mirror.texts.get(name) == text, f"{name} of {type_url}"
        assert mirror.texts.keys() <= wanted
        assert not self.unanswered


Stream.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestStream = Stream.TestCase
