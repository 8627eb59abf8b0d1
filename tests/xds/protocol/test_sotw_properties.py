"""Random state-of-the-world clients: at rest, the client's mirror equals the store.

On the way: never two in flight, never unasked a state, or a resource alone, that was rejected and
has not changed; and nothing runs out while client and server talk. While the store is outdated, a
client that comes from elsewhere loses no complete state, and none of the resources that it names.
"""

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from scopeway.xds.encoding.messages import decode_sotw_request
from scopeway.xds.protocol.backoff import MAX_DELAY
from scopeway.xds.protocol.session import Response, SotwSession
from scopeway.xds.steps import finish
from scopeway.xds.type_urls import CLUSTER, ROUTE
from xds_model import State, Store, read_state, write_node, write_sotw_request

LONGEST = 30
LONGEST_RETRY = MAX_DELAY * 1.5
WHOLE = {CLUSTER: True, ROUTE: False}
type_urls = st.sampled_from(sorted(WHOLE))
names = st.sampled_from(["a", "b", "c"])
texts = st.sampled_from(["1", "2", "bad 1", "bad 2"])
ttls = st.sampled_from([None, None, 9, LONGEST])


class Mirror:
    """One type as a client keeps it."""

    def __init__(self) -> None:
        self.named: set[str] = set()
        self.asks = self.wildcard = self.legacy = False  # the legacy wildcard has named nothing yet
        self.texts: dict[str, str] = {}
        self.ends: dict[str, float] = {}
        self.version = self.nonce = ""

    def leave(self) -> None:
        """Drop what is no longer wanted."""
        if not self.wildcard:
            self.texts = {n: t for n, t in self.texts.items() if n in self.named}

    def run_out(self, now: float) -> None:
        self.texts = {n: t for n, t in self.texts.items() if self.ends.get(n, now + 1) > now}


class Stream(RuleBasedStateMachine):
    """A client, a stream with messages on their way in both directions, and a changing store."""

    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.mirrors = {type_url: Mirror() for type_url in WHOLE}
        self.clock = 0.0
        self.connect()

    @rule()
    def connect(self) -> None:
        self.session = SotwSession(self.store)
        self.requests: deque[bytes] = deque()
        self.responses: deque[State] = deque()
        self.unanswered: dict[str, State] = {}
        self.rejected: dict[str, list[str]] = {}  # what was in the last response, if all or alone
        self.listed: dict[str, set[str]] = {}
        self.asked: set[tuple[str, str]] = set()
        self.kept: dict[str, set[str]] = {}
        for type_url, mirror in self.mirrors.items():
            mirror.nonce = ""
            if mirror.asks:
                self.send(type_url)
            if mirror.asks and mirror.version and self.store.outdated:
                self.kept[type_url] = set(mirror.named)
        self.note_current()

    def send(self, type_url: str, error: str | None = None) -> None:
        mirror = self.mirrors[type_url]
        listed = sorted(mirror.named) + (["*"] if mirror.wildcard else [])
        # a client that wants nothing says so with a name that is not there, as an empty list may be
        # the wildcard on a new stream
        self.requests.append(
            write_sotw_request(
                type_url,
                node=write_node("site/1", "site", agent="envoy/1.40.0"),
                names=[] if mirror.legacy else listed or ["never"],
                version=mirror.version,
                nonce=mirror.nonce,
                error=error,
            )
        )

    @rule(type_url=type_urls, wanted=st.sets(names), wildcard=st.booleans())
    def subscribe(self, type_url: str, wanted: set[str], wildcard: bool) -> None:
        mirror = self.mirrors[type_url]
        mirror.named, mirror.wildcard = wanted, wildcard
        mirror.asks, mirror.legacy = True, wildcard and not wanted and not mirror.asks
        mirror.leave()
        if not WHOLE[type_url] and type_url in self.kept:
            self.kept[type_url] &= wanted
        self.send(type_url)

    @rule(type_url=type_urls, name=names, text=texts | st.none(), wildcard=st.booleans())
    def come_outdated(self, type_url: str, name: str, text: str | None, wildcard: bool) -> None:
        """A client comes over from another server, which may know more than this one."""
        self.fill(type_url, wildcard, None)
        self.change(type_url, name, text, None)
        self.store.pending = set()
        self.session.everything_changed()
        self.store.outdated = True
        self.connect()

    def note_current(self) -> None:
        """A complete state that is the same here is known not to be newer."""
        for type_url in {CLUSTER} & self.kept.keys():
            there = {n: t for n, t in self.there(type_url).items() if t}
            if there == self.mirrors[type_url].texts:
                del self.kept[type_url]

    @rule()
    def catch_up(self) -> None:
        self.store.outdated = False
        self.kept.clear()
        self.session.caught_up()

    @rule(type_url=type_urls, members=st.sets(names))
    def change_wildcard(self, type_url: str, members: set[str]) -> None:
        self.store.wildcards[type_url] = sorted(members)
        self.rejected.pop(type_url, None)
        self.note_current()
        self.session.wildcard_changed(type_url)

    @rule(type_url=type_urls, name=names, text=texts | st.none(), ttl=ttls)
    def change(self, type_url: str, name: str, text: str | None, ttl: float | None) -> None:
        key = type_url, name
        new = None if text is None else f"{name}={text}"
        old = self.store.texts.get(key)
        changed = (old, self.store.ttls.get(key)) != (new, ttl if new else None)
        if changed and (WHOLE[type_url] or self.rejected.get(type_url) == [old]):
            self.rejected.pop(type_url, None)
        self.store.texts.pop(key, None)
        self.store.ttls.pop(key, None)
        if new is not None:
            self.store.texts[key] = new
            if ttl is not None:
                self.store.ttls[key] = ttl
        self.note_current()
        self.session.resources_changed(type_url, [name])

    @rule(type_url=type_urls, wildcard=st.booleans(), ttl=ttls)
    def fill(self, type_url: str, wildcard: bool, ttl: float | None) -> None:
        """A client that has all there is."""
        for name in ("a", "b", "c"):
            self.change(type_url, name, "1", ttl)
        self.change_wildcard(type_url, {"a", "b", "c"})
        self.subscribe(type_url, set() if wildcard else {"a", "b", "c"}, wildcard)
        self.settle()

    @rule(type_url=type_urls, left=st.sets(names), members=st.sets(names))
    def leave(self, type_url: str, left: set[str], members: set[str]) -> None:
        """A client that has all there is leaves some names, but not the wildcard."""
        self.fill(type_url, False, None)
        self.change_wildcard(type_url, members)
        for wanted in ({"a", "b", "c"}, {"a", "b", "c"} - left):
            self.subscribe(type_url, wanted, True)
            self.settle()

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

    def run_out(self) -> None:
        for mirror in self.mirrors.values():
            mirror.run_out(self.clock)

    @rule()
    def deliver_request(self) -> None:
        if not self.requests:
            return
        request = decode_sotw_request(self.requests.popleft())
        type_url, response = request.type_url, self.unanswered.get(request.type_url)
        if response is not None and request.response_nonce == response.nonce:
            del self.unanswered[type_url]
            known = WHOLE[type_url] or len(response.texts) == 1
            # the store may have changed while this was on its way
            there = all(self.is_there(type_url, text) for text in response.texts)
            if request.error is not None and known and there:
                self.rejected[type_url] = sorted(response.texts)
        self.note_names(type_url, {*request.names})
        self.session.receive(request, self.clock)

    def note_names(self, type_url: str, listed: set[str]) -> None:
        """What the client asks for, or leaves and takes anew, it may be sent once more."""
        changed = self.listed.get(type_url, {"*"}) ^ listed
        self.listed[type_url] = listed
        self.asked |= {(type_url, n) for n in ({"a", "b", "c"} if "*" in changed else changed)}

    def is_there(self, type_url: str, text: str) -> bool:
        return self.store.texts.get((type_url, text.partition("=")[0])) == text

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
            self.change(type_url, name, text, None)
            responses = finish(steps)
        except StopIteration as done:
            responses = done.value
        self.sent(responses)

    def sent(self, responses: list[Response]) -> None:
        for response in responses:
            state = read_state(response.data)
            assert state.type_url not in self.unanswered, "two in flight"
            self.check_kept(state)
            asked = {n for t, n in self.asked if t == state.type_url}
            sent = {text.partition("=")[0] for text in state.texts}
            answered = asked if WHOLE[state.type_url] else asked & sent
            if answered:
                self.rejected.pop(state.type_url, None)  # a new offer, alone or among others
            assert self.rejected.get(state.type_url) != sorted(state.texts), "sent again"
            self.asked -= {(state.type_url, name) for name in answered}
            self.unanswered[state.type_url] = state
            self.responses.append(state)
        deadline = self.session.next_deadline()
        assert deadline is None or deadline > self.clock

    def check_kept(self, state: State) -> None:
        kept = self.kept.get(state.type_url)
        if kept is None:
            return
        if WHOLE[state.type_url]:  # a state that it has already does no harm
            taken = dict(text.split("=") for text in state.texts)
            assert taken == self.mirrors[state.type_url].texts, "the state may be newer"
        else:
            assert not kept & {text.partition("=")[0] for text in state.texts}, "may be newer"

    @rule()
    def deliver_response(self) -> None:
        if not self.responses:
            return
        self.run_out()
        state = self.responses.popleft()
        mirror = self.mirrors[state.type_url]
        mirror.nonce = state.nonce
        taken = dict(text.split("=") for text in state.texts)
        bad = any(text.startswith("bad") for text in taken.values())
        if not bad:
            mirror.version = state.version_info
            mirror.texts = ({} if WHOLE[state.type_url] else mirror.texts) | taken
            for text in state.texts:
                mirror.ends.pop(text.partition("=")[0], None)
                if text in state.ttls:
                    mirror.ends[text.partition("=")[0]] = self.clock + state.ttls[text]
            mirror.leave()
        self.send(state.type_url, "bad" if bad else None)

    def settle(self) -> None:
        for _ in range(1000):
            self.deliver_request()
            self.push()
            self.deliver_response()
            if not self.requests and not self.responses:
                return
        raise AssertionError("client and server never come to rest")

    def live_for(self, seconds: float) -> None:
        """Let time pass with all that it brings."""
        end = self.clock + seconds
        while self.clock < end:
            deadline = self.session.next_deadline()
            self.clock = end if deadline is None else min(deadline, end)
            self.run_out()
            self.settle()

    @rule()
    def rest(self) -> None:
        self.store.failing = set()
        self.know_later(set())
        self.catch_up()
        self.settle()
        # what ran out while nobody spoke comes with the next refresh, what failed with the next try
        self.live_for(max(LONGEST, LONGEST_RETRY))
        self.check()
        self.live_for(3 * LONGEST)
        self.check()

    def check(self) -> None:
        for type_url, mirror in self.mirrors.items():
            there = self.there(type_url)
            good = {n: t for n, t in there.items() if t and not t.startswith("bad")}
            if WHOLE[type_url]:  # one bad resource spoils the whole answer
                if len(good) == sum(map(bool, there.values())):
                    assert mirror.texts == good
            else:  # of these types no removal can be told
                assert {n: mirror.texts.get(n) for n in good} == good
        assert not self.unanswered

    def there(self, type_url: str) -> dict[str, str]:
        """Return what there is of all that the client wants."""
        mirror = self.mirrors[type_url]
        members = self.store.wildcards.get(type_url, []) if mirror.wildcard else []
        return {
            name: self.store.texts.get((type_url, name), "=").partition("=")[2]
            for name in mirror.named.union(members)
        }

    def teardown(self) -> None:
        self.rest()


Stream.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestStream = Stream.TestCase
