"""Random state-of-the-world clients: at rest, the client's mirror equals the store."""

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from xds_model import Store

from xds import wire
from xds.codec import decode_sotw_request
from xds.session import SotwSession
from xds.types import CLUSTER, ROUTE

WHOLE = {CLUSTER: True, ROUTE: False}
type_urls = st.sampled_from(sorted(WHOLE))
names = st.sampled_from(["a", "b", "c"])
texts = st.sampled_from(["1", "2", "bad 1", "bad 2"])


class Mirror:
    """One type as a client keeps it."""

    def __init__(self) -> None:
        self.named: set[str] = set()
        self.has_named = False
        self.texts: dict[str, str] = {}
        self.version = self.nonce = ""


class Stream(RuleBasedStateMachine):
    """A client, a stream with messages on their way in both directions, and a changing store."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.mirrors = {type_url: Mirror() for type_url in WHOLE}
        self.connect()

    @rule()
    def connect(self) -> None:
        self.session = SotwSession(self.store)
        self.requests: deque[bytes] = deque()
        self.responses: deque[dict[int, list[bytes]]] = deque()
        self.unanswered: dict[str, str] = {}
        for type_url, mirror in self.mirrors.items():
            mirror.nonce = ""
            if mirror.has_named:
                self.send(type_url)

    def send(self, type_url: str, error: bool = False) -> None:
        mirror = self.mirrors[type_url]
        node = wire.field_string(1, "site/1") + wire.field_string(2, "site")
        parts = [wire.field_string(1, mirror.version), wire.field_bytes(2, node)]
        # a client that wants nothing says so with a name that is not there, as an empty list may be
        # the wildcard on a new stream
        parts += [wire.field_string(3, name) for name in sorted(mirror.named) or ["never"]]
        parts += [wire.field_string(4, type_url), wire.field_string(5, mirror.nonce)]
        if error:
            parts.append(wire.field_bytes(6, wire.field_string(2, "bad")))
        self.requests.append(b"".join(parts))

    @rule(type_url=type_urls, wanted=st.sets(names))
    def subscribe(self, type_url: str, wanted: set[str]) -> None:
        mirror = self.mirrors[type_url]
        mirror.named, mirror.has_named = wanted, True
        mirror.texts = {n: t for n, t in mirror.texts.items() if n in wanted}
        self.send(type_url)

    @rule(type_url=type_urls, name=names, text=texts | st.none())
    def change(self, type_url: str, name: str, text: str | None) -> None:
        if text is None:
            self.store.texts.pop((type_url, name), None)
        else:
            self.store.texts[type_url, name] = f"{name}={text}"
        self.session.resources_changed(type_url, [name])

    @rule()
    def deliver_request(self) -> None:
        if self.requests:
            request = decode_sotw_request(self.requests.popleft())
            if self.unanswered.get(request.type_url) == request.response_nonce:
                del self.unanswered[request.type_url]
            self.session.receive(request, 0.0)

    @rule()
    def push(self) -> None:
        for response in self.session.responses_to_send(0.0):
            assert response.type_url not in self.unanswered, "two in flight"
            self.unanswered[response.type_url] = response.nonce
            found: dict[int, list[bytes]] = {}
            for number, start, end in wire.fields(response.data):
                found.setdefault(number, []).append(response.data[start:end])
            self.responses.append(found)

    @rule()
    def deliver_response(self) -> None:
        if not self.responses:
            return
        found = self.responses.popleft()
        type_url = found[4][0].decode()
        mirror = self.mirrors[type_url]
        mirror.nonce = found[5][0].decode()
        texts = [
            {n: each[s:e].decode() for n, s, e in wire.fields(each)}[2] for each in found.get(2, [])
        ]
        taken = dict(text.split("=") for text in texts)
        error = any(text.startswith("bad") for text in taken.values())
        if not error:
            mirror.version = found[1][0].decode()
            kept = {} if WHOLE[type_url] else mirror.texts
            mirror.texts = {n: t for n, t in (kept | taken).items() if n in mirror.named}
        self.send(type_url, error)

    @rule()
    def rest(self) -> None:
        for _ in range(1000):
            self.deliver_request()
            self.push()
            self.deliver_response()
            if not self.requests and not self.responses:
                break
        else:
            raise AssertionError("client and server never come to rest")
        for type_url, mirror in self.mirrors.items():
            there = {
                n: self.store.texts.get((type_url, n), "=").partition("=")[2] for n in mirror.named
            }
            good = {n: t for n, t in there.items() if t and not t.startswith("bad")}
            if WHOLE[type_url]:  # one bad resource spoils the whole answer
                if len(good) == sum(map(bool, there.values())):
                    assert mirror.texts == good
            else:  # of these types no removal can be told
                assert {n: mirror.texts.get(n) for n in good} == good
        assert not self.unanswered

    def teardown(self) -> None:
        self.rest()


Stream.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestStream = Stream.TestCase
