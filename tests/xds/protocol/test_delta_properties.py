"""Random clients, changes and reconnects: at rest, the client's mirror equals the store.

On the way: never two in flight, never unasked a version that was rejected and has not changed,
heartbeats for what the client holds only; and nothing runs out while client and server talk. While
the store is outdated, what a client brought along from elsewhere is neither replaced nor removed.
"""

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from scopeway.xds.encoding.messages import DeltaRequest, decode_delta_request
from scopeway.xds.protocol.backoff import MAX_DELAY
from scopeway.xds.protocol.session import DeltaSession, Response
from scopeway.xds.protocol.ttl import TTL_FEATURE
from scopeway.xds.source import Node
from scopeway.xds.steps import finish
from scopeway.xds.type_urls import CLUSTER, ROUTE
from xds_model import Received, Store, read_response, write_node, write_request

LONGEST_RETRY = MAX_DELAY * 1.5
TYPE_URLS = (CLUSTER, ROUTE)
type_urls = st.sampled_from(TYPE_URLS)
names = st.sampled_from(["a", "b", "c"])
texts = st.sampled_from(["1", "2", "bad 1", "bad 2"])
ttls = st.sampled_from([None, None, 9, 30])
LONGEST = 30


class Mirror:
    """One type as Envoy keeps it: what it subscribes to, and what it has taken over."""

    def __init__(self, partial: bool) -> None:
        self.partial = partial  # takes over the good part of a bad response
        self.named: set[str] = set()
        self.wildcard = False
        self.texts: dict[str, str] = {}
        self.versions: dict[str, str] = {}
        self.ends: dict[str, float] = {}

    def unsubscribe(self, name: str) -> None:
        self.named.discard(name)
        if not self.wildcard:  # otherwise the wildcard may mean it, and the server will say
            self.forget(name)

    def leave_wildcard(self) -> None:
        self.wildcard = False
        for name in set(self.texts) - self.named:
            self.forget(name)

    def forget(self, name: str) -> None:
        for table in (self.texts, self.versions, self.ends):
            table.pop(name, None)

    def run_out(self, now: float) -> list[str]:
        """Drop what has not been refreshed in time; return what that is."""
        ended = [name for name, end in self.ends.items() if end <= now]
        for name in ended:
            self.forget(name)
        return ended

    def take(self, response: Received, now: float) -> str | None:
        """Take over what is good; return an error if something is bad."""
        for name, version in response.beats.items():
            if (self.wildcard or name in self.named) and self.versions.get(name) != version:
                return f"a heartbeat of {name}, which isn't here"
        bad = [name for name, text in response.texts.items() if text.startswith("bad")]
        if bad and not self.partial:
            return f"bad: {bad}"
        for name, text in response.texts.items():
            if name not in bad and (self.wildcard or name in self.named):
                self.texts[name] = text
                if not bad:  # as Envoy: the versions count only when all was good
                    self.versions[name] = response.versions[name]
                    self.ends.pop(name, None)
        if not bad:
            for name, ttl in response.ttls.items():
                if name in self.versions:
                    self.ends[name] = now + ttl
        for name in response.removed:
            self.forget(name)
        return f"bad: {bad}" if bad else None


class Stream(RuleBasedStateMachine):
    """A client, a stream with messages on their way in both directions, and a changing store."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.mirrors: dict[str, Mirror] = {}
        self.with_ttls = True
        self.clock = 0.0
        self.connect()

    def connect(self) -> None:
        self.session = DeltaSession(self.store, response_limit=250)
        self.requests: deque[bytes] = deque()
        self.responses: deque[Received] = deque()
        self.unanswered: dict[str, Received] = {}
        self.interest: set[tuple[str, str]] = set()
        self.rejected: dict[tuple[str, str], str] = {}  # versions that were alone in a response
        self.asked: set[tuple[str, str]] = set()
        self.acked: dict[tuple[str, str], str] = {}
        self.reported: dict[tuple[str, str], str] = {}  # versions that it came with
        self.kept: set[tuple[str, str]] = set()  # those that are not to be touched

    @initialize(partial=st.booleans(), with_ttls=st.booleans())
    def open(self, partial: bool, with_ttls: bool) -> None:
        self.mirrors = {type_url: Mirror(partial) for type_url in TYPE_URLS}
        self.with_ttls = with_ttls
        self.reconnect()

    @rule()
    def reconnect(self) -> None:
        self.connect()
        for type_url, mirror in self.mirrors.items():
            names = [*mirror.named, *(["*"] if mirror.wildcard else [])]
            # what an earlier server told and this one must not is only in the versions
            known = {n: v for n, v in mirror.versions.items() if mirror.wildcard or n in names}
            self.send(type_url, subscribe=names or ["never"], versions=known)
            self.reported |= {(type_url, name): version for name, version in known.items()}
            if not names:
                self.send(type_url, unsubscribe=["never"])
        self.kept = set(self.reported) if self.store.outdated else set()
        self.note_current()

    @rule(type_url=type_urls, name=names, again=st.booleans())
    def subscribe(self, type_url: str, name: str, again: bool) -> None:
        mirror = self.mirrors[type_url]
        mirror.named.add(name)
        self.kept.discard((type_url, name))
        if again:  # whatever the reason, the client has lost it
            mirror.forget(name)
        self.send(type_url, subscribe=[name])

    @rule(type_url=type_urls, name=names)
    def unsubscribe(self, type_url: str, name: str) -> None:
        if name in self.mirrors[type_url].named:
            self.mirrors[type_url].unsubscribe(name)
            if name not in self.mirrors[type_url].texts:
                self.kept.discard((type_url, name))
        self.send(type_url, unsubscribe=[name])

    @rule(type_url=type_urls, enter=st.booleans())
    def wildcard(self, type_url: str, enter: bool) -> None:
        self.kept = {key for key in self.kept if key[0] != type_url}
        if enter:
            self.mirrors[type_url].wildcard = True
            self.send(type_url, subscribe=["*"])
        else:
            self.mirrors[type_url].leave_wildcard()
            self.send(type_url, unsubscribe=["*"])

    @rule(type_url=type_urls, name=names, text=texts | st.none(), ttl=ttls)
    def change(self, type_url: str, name: str, text: str | None, ttl: float | None) -> None:
        key = type_url, name
        before = self.store.texts.get(key), self.store.ttls.get(key)
        if text is None:
            self.store.texts.pop(key, None)
        else:
            self.store.texts[key] = text
        self.store.ttls.pop(key, None)
        if text is not None and ttl is not None:
            self.store.ttls[key] = ttl
        if before != (self.store.texts.get(key), self.store.ttls.get(key)):
            self.rejected.pop(key, None)
        self.note_current()
        # as the notifier does: only what the session said it wants
        if (type_url, name) in self.interest:
            self.session.resources_changed(type_url, [name])

    @rule()
    def outdate(self) -> None:
        """Other servers may know more from now on."""
        self.store.pending = set()
        self.session.everything_changed()
        self.store.outdated = True

    @rule(type_url=type_urls, name=names, text=texts | st.none(), wildcard=st.booleans())
    def come_outdated(self, type_url: str, name: str, text: str | None, wildcard: bool) -> None:
        """A client that another server has brought up to date comes over."""
        self.fill(type_url, wildcard, None)
        self.change(type_url, name, text, None)
        self.outdate()
        self.reconnect()

    @rule()
    def catch_up(self) -> None:
        self.store.outdated = False
        self.kept.clear()
        self.session.caught_up()

    def note_current(self) -> None:
        """What is the same here is known not to be newer."""
        self.kept -= {key for key in self.kept if self.version(*key) == self.reported[key]}

    @rule(type_url=type_urls, members=st.sets(names))
    def change_wildcard(self, type_url: str, members: set[str]) -> None:
        self.store.wildcards[type_url] = sorted(members)
        self.session.wildcard_changed(type_url)

    @rule(type_url=type_urls, wildcard=st.booleans(), ttl=ttls)
    def fill(self, type_url: str, wildcard: bool, ttl: float | None) -> None:
        """A client that has all there is."""
        for name, text in (("a", "1"), ("b", "1"), ("c", "1")):
            self.change(type_url, name, text, ttl)
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
            response = self.unanswered.get(request.type_url)
            if response is not None and response.nonce == request.response_nonce:
                del self.unanswered[request.type_url]
                self.note_answer(request, response)
            self.note_names(request)
            self.session.receive(request, self.clock)

    def note_answer(self, request: DeltaRequest, response: Received) -> None:
        """Remember what the client has, and which version it can't take."""
        type_url = request.type_url
        if request.error is None:
            self.acked |= {(type_url, name): each for name, each in response.versions.items()}
            for name in response.removed:
                self.acked.pop((type_url, name), None)
        elif len(response.versions) == 1 and not response.removed:
            ((name, version),) = response.versions.items()
            # the store may have changed while this was on its way
            if self.version(type_url, name) == version:
                self.rejected[type_url, name] = version

    def note_names(self, request: DeltaRequest) -> None:
        """What the client asks for, or leaves and takes anew, it may be sent once more."""
        named = {*request.subscribe, *request.unsubscribe}
        every = {"a", "b", "c"} if "*" in named else named
        self.asked |= {(request.type_url, name) for name in every}

    def version(self, type_url: str, name: str) -> str | None:
        there = Store(texts=self.store.texts, ttls=self.store.ttls)  # where nothing fails
        found = there.attach(Node(id="", cluster="")).resource(type_url, name)
        return None if found is None else found.version

    @rule()
    def push(self) -> None:
        self.sent(self.session.responses_to_send(self.clock))

    @rule(type_url=type_urls, name=names, text=texts | st.none(), after=st.integers(0, 4))
    def push_meanwhile(self, type_url: str, name: str, text: str | None, after: int) -> None:
        """Something changes while the answers are being made."""
        steps = self.session.response_steps(self.clock)
        try:
            for _ in range(after):
                next(steps)
                self.follow()
            self.change(type_url, name, text, None)
            responses = finish(steps)
        except StopIteration as done:
            responses = done.value
        self.sent(responses)

    def sent(self, responses: list[Response]) -> None:
        for response in responses:
            received = read_response(response.data)
            self.check(received)
            self.unanswered[received.type_url] = received
            self.responses.append(received)
        deadline = self.session.next_deadline()
        assert deadline is None or deadline > self.clock
        self.follow()

    def follow(self) -> None:
        for type_url, name, wanted in self.session.interest_changes():
            (self.interest.add if wanted else self.interest.discard)((type_url, name))

    @rule()
    def deliver_response(self) -> None:
        if self.responses:
            response = self.responses.popleft()
            self.run_out()
            error = self.mirrors[response.type_url].take(response, self.clock)
            self.send(response.type_url, nonce=response.nonce, error=error)

    @rule(failing=st.sets(names))
    def fail(self, failing: set[str]) -> None:
        """Looking up just these fails from now on, and nobody says when no longer."""
        self.store.failing = failing

    @rule(pending=st.sets(names | st.just("*")))
    def know_later(self, pending: set[str]) -> None:
        """Just these are not known yet from now on; the server is told what is known again.

        A source that is outdated knows all.
        """
        self.store.pending = set() if self.store.outdated else pending
        self.session.everything_changed()

    @rule(seconds=st.sampled_from([1, 3, 10, 40]))
    def wait(self, seconds: float) -> None:
        self.clock += seconds
        self.run_out()

    def run_out(self) -> list[str]:
        return [name for mirror in self.mirrors.values() for name in mirror.run_out(self.clock)]

    def check(self, response: Received) -> None:
        """Check what holds for every response."""
        type_url = response.type_url
        assert type_url not in self.unanswered, "two in flight"
        assert self.with_ttls or not response.ttls
        assert not (response.beats and (response.texts or response.removed))
        for name, version in response.versions.items():
            key = type_url, name
            assert self.rejected.get(key) != version or key in self.asked, f"{name} again"
        for key in [(type_url, name) for name in [*response.versions, *response.removed]]:
            if key in self.asked or key[1] in response.removed:
                self.rejected.pop(key, None)  # a new offer, alone or among others
            self.asked.discard(key)
        for name, version in response.beats.items():
            key = type_url, name
            assert version in (self.acked.get(key), self.reported.get(key)), f"{name} isn't there"
        for name in [*response.texts, *response.removed]:
            assert (type_url, name) not in self.kept, f"{name} may be newer"

    def send(self, type_url: str, **fields: object) -> None:
        first = not self.requests and self.session.node is None
        features = [TTL_FEATURE] if self.with_ttls else []
        request = write_request(
            type_url,
            node=write_node("site/1", "site", features=features) if first else None,
            **fields,  # type: ignore[arg-type]
        )
        self.requests.append(request)

    @rule()
    def rest(self) -> None:
        """Come to rest often: most of what can go wrong begins with a client that has something."""
        self.store.failing = set()
        self.know_later(set())
        self.catch_up()
        self.settle()
        # what ran out while nobody spoke is found out by its heartbeat, failures by trying again
        self.live_for(max(LONGEST, LONGEST_RETRY))
        assert self.live_for(3 * LONGEST) == []
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

    def live_for(self, seconds: float) -> list[str]:
        """Let time pass with all that it brings; return what ran out."""
        end, ended = self.clock + seconds, []
        while self.clock < end:
            deadline = self.session.next_deadline()
            self.clock = end if deadline is None else min(deadline, end)
            ended += self.run_out()
            self.settle()
        return ended

    def uses_what_was_to_be_replaced(self) -> bool:
        """Whether the client may refer to clusters by what it had before it rejected an update.

        The server cannot know what a client still has that has subscribed to it again.
        """
        return any(
            (text or "").startswith("bad") and type_url != CLUSTER
            for (type_url, name), text in self.store.texts.items()
            if (type_url, name) in self.acked or (type_url, name) in self.reported
        )

    def check_at_rest(self, type_url: str, mirror: Mirror) -> None:
        members = self.store.wildcards.get(type_url, []) if mirror.wildcard else []
        wanted = mirror.named | set(members)
        may_stay = type_url == CLUSTER and self.uses_what_was_to_be_replaced()
        for name in wanted:
            text = self.store.texts.get((type_url, name))
            if (text is None and not may_stay) or (text and not text.startswith("bad")):
                assert mirror.texts.get(name) == text, f"{name} of {type_url}"
        assert may_stay or mirror.texts.keys() <= wanted
        assert not self.unanswered


Stream.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestStream = Stream.TestCase
