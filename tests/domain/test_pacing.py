"""Pacing, against a target that counts."""

import heapq
import itertools
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from passferry.domain.pacing import BURST, Pacer


@dataclass
class Target:
    """Counts requests in fixed windows of a minute. ``phase`` None: one starts with the first request."""

    allowed: int
    phase: float | None
    states: bool = True
    retry_after: float | None = None  # None: what is left of the window
    window: int | None = None
    count: int = 0
    began: float = -math.inf
    throttled: list[float] = field(default_factory=list)
    passed: list[float] = field(default_factory=list)

    def take(self, at: float) -> tuple[bool, int, int]:
        """Whether the request that arrives at ``at`` is let in, the count, and whole seconds to the reset."""
        if self.phase is None:
            if at >= self.began + 60.0:
                self.began, self.count = at, 0
        else:
            window = math.floor((at - self.phase) / 60.0)
            if window != self.window:
                self.window, self.count, self.began = window, 0, self.phase + 60.0 * window
        let_in = self.count < self.allowed
        self.count += let_in
        (self.passed if let_in else self.throttled).append(at)
        return let_in, self.count, max(1, math.ceil(self.began + 60.0 - at))


@dataclass
class Bucket(Target):
    """Lets a request in for each token of a bucket, which is filled evenly; no window begins or ends."""

    tokens: float = 10.0
    at: float = 0.0

    def take(self, at: float) -> tuple[bool, int, int]:
        """See ``Target``."""
        self.tokens = min(10.0, self.tokens + (at - self.at) * self.allowed / 60.0)
        self.at = at
        let_in = self.tokens >= 1.0
        self.tokens -= let_in
        (self.passed if let_in else self.throttled).append(at)
        return let_in, 0, 1


@dataclass
class Now429(Target):
    """Refuses one request in fifty for no reason that it names."""

    luck: random.Random = field(default_factory=lambda: random.Random(2))

    def take(self, at: float) -> tuple[bool, int, int]:
        """See ``Target``."""
        if self.luck.random() < 0.02:
            self.throttled.append(at)
            return False, self.count, 1
        return super().take(at)


@dataclass
class Network:
    """Requests and answers under way, and when each request started."""

    target: Target
    pacer: Pacer
    latency: random.Random
    slowest: float = 1.0
    starts: list[float] = field(default_factory=list)
    _heap: list[tuple[float, int, tuple[str, bool, int, int]]] = field(default_factory=list)
    _order: "itertools.count[int]" = field(default_factory=itertools.count)
    _flying: int = 0

    def send(self, now: float) -> None:
        """A request starts: it is counted at the target, and answered, at most ``slowest`` later."""
        self.pacer.sent(now)
        self.starts.append(now)
        self._flying += 1
        there = now + self.latency.uniform(0, self.slowest / 2)
        heapq.heappush(self._heap, (there, next(self._order), ("arrive", False, 0, 0)))

    def until(self, now: float) -> None:
        """Everything that happens up to ``now``."""
        while self._heap and self._heap[0][0] <= now:
            at, _, (what, let_in, count, reset) = heapq.heappop(self._heap)
            if what == "arrive":
                answer = ("answer", *self.target.take(at))
                back = at + self.latency.uniform(0, self.slowest / 2)
                heapq.heappush(self._heap, (back, next(self._order), answer))
                continue
            self._flying -= 1
            if not let_in:  # the documented 429 has no rate headers
                wait = self.target.retry_after if self.target.retry_after is not None else float(reset)
                self.pacer.refused(at)
                self.pacer.throttled(at, wait)
                continue
            self.pacer.let_in(at)
            if self.target.states:
                self.pacer.stated(at, count, self.target.allowed, float(reset), self._flying)

    def next_event(self) -> float:
        """When the next thing happens."""
        return self._heap[0][0] if self._heap else math.inf


def work(network: Network, start: float, end: float, *, most: int = 10**9) -> float:
    """Send ``most`` requests as early as the pacer allows; when it was done with it."""
    now = start
    while now < end and most > 0:
        network.until(now)
        at = network.pacer.ready_at(now)
        if at <= now:
            network.send(now)
            most -= 1
        else:
            now = min(at, network.next_event(), end)
    return now


def most_in(starts: list[float], span: float) -> int:
    """The largest number of starts within any half-open span."""
    recent: deque[float] = deque()
    most = 0
    for at in starts:
        recent.append(at)
        while recent[0] <= at - span:
            recent.popleft()
        most = max(most, len(recent))
    return most


seeds = st.integers(0, 2**32)
limits = st.integers(1, 600)
phases = st.none() | st.floats(-60, 60)


@settings(max_examples=20)
@given(seeds, limits, limits, phases, st.booleans(), st.floats(0, 1))
def test_never_more_than_the_limit_in_any_minute_nor_in_a_window(
    seed: int, configured: int, allowed: int, phase: float | None, states: bool, slowest: float
) -> None:
    """With a target that allows at least what is configured: no span of 60 s holds more, and no 429 comes."""
    configured = min(configured, allowed)
    target = Target(allowed, phase, states)
    draw = random.Random(seed)
    network = Network(target, Pacer(configured, 0.0), draw, slowest)
    now = 0.0
    for _ in range(draw.randint(1, 4)):  # busy times and idle times
        work(network, now, now + draw.uniform(0, 100), most=draw.choice([1, 5, 300, 10**6]))
        now += draw.uniform(1, 180)
        now = max(now, network.starts[-1] if network.starts else 0.0)
    network.until(math.inf)
    assert target.throttled == []
    assert most_in(network.starts, 60.0) <= (allowed if states else configured)


@settings(max_examples=8)
@given(seeds, phases, st.integers(20, 900))
def test_a_stated_limit_is_never_hit_whatever_was_configured(
    seed: int, phase: float | None, allowed: int
) -> None:
    """The first answers say how much is allowed; no window of the target ever sees more."""
    target = Target(allowed, phase)
    network = Network(target, Pacer(300, 0.0), random.Random(seed))
    work(network, 0.0, 400.0)
    network.until(math.inf)
    assert target.throttled == []


@pytest.mark.parametrize("allowed", [100, 300, 500])
@pytest.mark.parametrize(
    ("phase", "states", "least"),
    [(17.2, True, 0.99), (None, True, 0.97), (17.2, False, 0.95), (None, False, 0.95)],
)
def test_a_busy_owner_uses_its_quota(allowed: int, phase: float | None, states: bool, least: float) -> None:
    """While there is work, 99 % of what a target allows and states is used, 95 % of what it does not state.

    A window that starts with its first request cannot be used whole: the end of the one before is known to
    the second only.
    """
    network = Network(Target(allowed, phase, states), Pacer(allowed, 0.0), random.Random(allowed))
    work(network, 0.0, 960.0)
    steady = sum(60.0 <= at < 960.0 for at in network.starts)
    assert least * allowed * 15 <= steady <= allowed * 15
    assert network.target.throttled == []


@given(st.integers(1, 1000), st.floats(0, 1e6), st.floats(62, 1e5))
def test_a_lone_change_never_waits(limit: int, start: float, pause: float) -> None:
    """After a pause the two requests of a change, or all that a smaller limit allows, start at once."""
    pacer = Pacer(limit, start)
    for now in (start, start + pause, start + 2 * pause):
        for _ in range(min(2, limit)):
            assert pacer.ready_at(now) <= now
            pacer.sent(now)


def test_a_burst_after_a_pause_is_bounded() -> None:
    """A few requests start at once, the rest evenly: no second holds a window's quota."""
    network = Network(Target(300, 0.0), Pacer(300, 0.0), random.Random(1))
    work(network, 0.0, 120.0)
    assert most_in(network.starts, 1.0) <= BURST + 6


@settings(max_examples=8)
@given(seeds, st.integers(60, 250), st.none() | st.sampled_from([1.0, 42.0, 60.0]))
def test_an_unstated_lower_limit_is_learnt_from_a_first_429(
    seed: int, allowed: int, retry_after: float | None
) -> None:
    """But for waits that are too short, and answers under way, an hour of work meets a handful."""
    target = Target(allowed, None, states=False, retry_after=retry_after)
    network = Network(target, Pacer(300, 0.0), random.Random(seed), slowest=0.2)
    work(network, 0.0, 120.0 + 300.0)
    first = target.throttled[0]
    later = [at for at in target.throttled if at > first + 2.0]
    assert network.pacer.limit <= allowed + 3
    work(network, 420.0, 3000.0)
    settled = [at for at in target.throttled if at > 420.0]
    assert len(later) <= 14
    assert len(settled) <= 4
    assert len(target.passed) >= 0.85 * allowed * 3000.0 / 60.0


@pytest.mark.parametrize("states", [True, False])
def test_a_429_that_asks_for_a_second_costs_that_second(*, states: bool) -> None:
    """One of fifty requests is refused, the next let in: that is no limit of a minute."""
    target = Now429(300, 0.0, states=states, retry_after=1.0)
    network = Network(target, Pacer(300, 0.0), random.Random(1), slowest=0.1)
    work(network, 0.0, 1800.0)
    assert len(target.throttled) > 100
    assert len(target.passed) >= 0.8 * 300 * 30


@pytest.mark.parametrize("retry_after", [1.0, 5.0])
@pytest.mark.parametrize("allowed", [60, 100, 200])
def test_a_limit_of_another_kind_is_learnt_although_it_asks_for_a_moment(
    allowed: int, retry_after: float
) -> None:
    """A bucket lets some in after every wait: that so many are refused tells of it, and then few are."""
    target = Bucket(allowed, None, states=False, retry_after=retry_after)
    network = Network(target, Pacer(300, 0.0), random.Random(1), slowest=0.2)
    work(network, 0.0, 1800.0)
    settled = [at for at in target.throttled if at > 300.0]
    assert len(settled) <= 75
    assert len(target.passed) >= 0.6 * allowed * 30


def test_what_was_learnt_is_forgotten_after_an_hour() -> None:
    """A limit learnt from a 429 is believed for an hour; then the configured one is tried again."""
    network = Network(Target(100, None, states=False), Pacer(300, 0.0), random.Random(1))
    work(network, 0.0, 60.0)
    now = network.target.throttled[-1]
    assert network.pacer.limit < 120
    network.pacer.ready_at(now + 3590)
    assert network.pacer.limit < 120
    network.pacer.ready_at(now + 3601)
    assert network.pacer.limit == 300


def test_a_429_after_a_handful_of_requests_teaches_nothing() -> None:
    """Somebody else spent the quota: the wait is obeyed, and the rate stays."""
    pacer = Pacer(300, 0.0)
    for _ in range(5):
        pacer.sent(0.0)
    pacer.throttled(1.0, 42.0)
    assert pacer.limit == 300
    assert pacer.ready_at(1.0) == 43.0
    assert pacer.ready_at(43.0) <= 43.0


@pytest.mark.parametrize("late", [0.1, 2.0, 30.0])
def test_a_late_answer_of_an_old_window_changes_nothing(late: float) -> None:
    """Answers overtake each other: once a new window was stated, the end of the old one is no news."""
    pacer = Pacer(300, 0.0)
    pacer.stated(100.0, 1, 300, 60.0, 0)
    before = pacer.ready_at(100.0 + late)
    pacer.stated(100.0 + late, 300, 300, 1.0, 0)
    assert pacer.ready_at(100.0 + late) == before


def test_others_who_spend_the_same_quota_are_respected() -> None:
    """When the target says that its window is used up, nothing starts before the reset."""
    pacer = Pacer(300, 0.0)
    pacer.sent(0.0)
    pacer.stated(0.5, 300, 300, 38.0, 0)
    assert 38.5 <= pacer.ready_at(1.0) <= 39.0
    assert pacer.ready_at(39.0) <= 39.0


def test_what_is_spent_is_ours_or_the_targets_whichever_is_more() -> None:
    """Our requests of the last minute; the target's count and what we sent since, until its window ends."""
    pacer = Pacer(300, 0.0)
    for at in (0.0, 1.0, 2.0):
        pacer.sent(at)
    assert pacer.spent(2.0) == 3
    assert pacer.spent(60.5) == 2
    pacer.stated(3.0, count=100, allowed=300, reset=20.0, in_flight=1)
    assert pacer.spent(3.0) == 101
    pacer.sent(4.0)
    assert pacer.spent(4.0) == 102
    assert pacer.spent(24.0) == 4
    assert pacer.spent(1000.0) == 0


def test_requests_under_way_count_as_spent() -> None:
    """What the target had not counted when it answered will be: the last slots are not given twice."""
    pacer = Pacer(300, 0.0)
    pacer.stated(0.5, 297, 300, 38.0, 2)
    assert pacer.ready_at(0.5) <= 0.5
    pacer.sent(0.5)
    assert pacer.ready_at(0.6) >= 38.5


@pytest.mark.parametrize(
    ("count", "allowed", "reset"),
    [(1, 0, 60.0), (-1, 300, 60.0), (1, 300, -1.0), (1, 300, 1e9), (1, 300, math.nan)],
)
def test_nonsense_in_the_headers_is_not_believed(count: int, allowed: int, reset: float) -> None:
    """Figures that no target can mean change neither limit nor wait."""
    pacer = Pacer(300, 0.0)
    pacer.stated(0.0, count, allowed, reset, 0)
    assert pacer.limit == 300
    assert pacer.ready_at(0.0) <= 0.0


def test_what_was_sent_before_a_restart_counts_when_it_was_sent() -> None:
    """Requests of the last minute use quota until they are a minute old, and delay no lone change."""
    pacer = Pacer(300, 1000.0)
    pacer.sent_before([950.0 + i / 10 for i in range(299)])
    assert pacer.ready_at(1000.0) <= 1000.0
    pacer.sent(1000.0)
    assert pacer.ready_at(1000.0) == 950.0 + pacer.window


def test_an_operator_can_end_a_wait() -> None:
    """Resuming an org forgets the wait that was told."""
    pacer = Pacer(300, 0.0)
    pacer.block(500.0)
    assert pacer.ready_at(0.0) == 500.0
    pacer.unblock()
    assert pacer.ready_at(0.0) <= 0.0


# --- others, and limits that nothing states ---------------------------------------------------


@settings(max_examples=10)
@given(seeds, st.integers(200, 600), st.floats(0.1, 0.6))
def test_others_who_spend_of_the_same_limit_cost_us_no_429_and_keep_their_share(
    seed: int, allowed: int, part: float
) -> None:
    """From the second window on, when it has been seen what they spend: all of it is used, by both."""
    target = Target(allowed, 0.0)
    network = Network(target, Pacer(allowed, 0.0), random.Random(seed), slowest=0.3)
    every, now, theirs, refused = 60.0 / (allowed * part), 0.0, 0.0, list[float]()
    while now < 600.0:
        network.until(now)
        if theirs <= now:
            if not target.take(now)[0]:
                refused.append(target.throttled.pop())
            theirs += every
        at = network.pacer.ready_at(now)
        if at <= now:
            network.send(now)
        else:
            now = min(at, theirs, network.next_event())
    assert [at for at in target.throttled if at > 60.0] == []
    assert sum(at > 120.0 for at in refused) <= 0.06 * 480.0 / every
    assert len(target.passed) >= 0.95 * allowed * 10


@settings(max_examples=10)
@given(seeds, st.integers(200, 900), phases)
def test_alone_nobody_is_left_a_share(seed: int, allowed: int, phase: float | None) -> None:
    """Our own requests, however they overtake each other, are not taken for somebody else's."""
    network = Network(Target(allowed, phase), Pacer(allowed, 0.0), random.Random(seed))
    work(network, 0.0, 300.0)
    assert network.pacer.spacing(300.0) == network.pacer.window / allowed


def _refused_at_60(pacer: Pacer, began: float) -> float:
    """When a 429 comes after 60 requests of a window of 300, whose first answer came at ``began``."""
    now = began
    for number in range(60):
        now = max(now, pacer.ready_at(now))
        pacer.sent(now)
        pacer.stated(now, number + 1, 300, 60.0 - (now - began), 0)
    pacer.sent(now)
    pacer.refused(now)
    pacer.throttled(now, 30.0)
    return now


def test_a_limit_below_the_stated_one_is_learnt() -> None:
    """A 429 while most of what is stated is left: as much as was let in is the limit, longer each time."""
    pacer, began = Pacer(300, 0.0), 0.0
    for believed in (180.0, 900.0, 3600.0, 3600.0):
        now = _refused_at_60(pacer, began)
        assert pacer.limit == 60
        pacer.stated(now + 31.0, 62, 300, 18.0, 0)
        pacer.ready_at(now + believed - 1.0)
        assert pacer.limit == 60
        pacer.ready_at(now + believed)
        assert pacer.limit == 300
        began = now + believed
    _refused_at_60(pacer, began + 7300.0)
    pacer.ready_at(began + 7300.0 + 60.0 + 180.0)
    assert pacer.limit == 300


def test_a_429_while_others_spend_teaches_nothing_of_a_stated_limit() -> None:
    """A neighbour's burst between two answers uses the window up: our own share was not the reason."""
    pacer, now = Pacer(300, 0.0), 0.0
    for number in range(30):
        now += 1.0
        pacer.sent(now)
        pacer.stated(now, 3 * (number + 1), 300, 60.0 - now, 0)
    pacer.refused(now)
    pacer.throttled(now, 30.0)
    assert pacer.limit == 300


def test_a_429_at_the_end_of_the_stated_limit_teaches_nothing() -> None:
    """Somebody else was faster; the limit is the one that is stated."""
    pacer = Pacer(300, 0.0)
    for number in range(100):
        pacer.sent(number * 0.2)
    pacer.stated(20.0, 299, 300, 40.0, 0)
    pacer.refused(20.1)
    pacer.throttled(20.1, 40.0)
    assert pacer.limit == 300


@pytest.mark.parametrize(("first", "then"), [(300, 120), (120, 300), (300, 900)])
def test_a_limit_that_changes_while_running_is_followed(first: int, then: int) -> None:
    """Down at the price of what is under way at that moment, up within a window; then all of it is used."""
    target = Target(first, 0.0)
    network = Network(target, Pacer(first, 0.0), random.Random(5), slowest=0.2)
    work(network, 0.0, 150.0)
    target.allowed = then
    work(network, 150.0, 240.0)
    throttled = len(target.throttled)
    work(network, 240.0, 840.0)
    assert throttled <= 3
    assert len(target.throttled) == throttled
    passed = sum(240.0 <= at < 840.0 for at in target.passed)
    assert passed >= 0.98 * then * 10


@pytest.mark.parametrize("rounded", [math.ceil, math.floor])
def test_the_end_of_a_window_is_found_out_from_whole_seconds(rounded: Callable[[float], int]) -> None:
    """Many answers round it differently; alone, nothing starts before it is over and by little later."""
    pacer, now, sent = Pacer(300, 0.0), 0.0, 0
    while sent < 300:
        now = max(now, pacer.ready_at(now))
        pacer.sent(now)
        sent += 1
        pacer.stated(now + 0.05, sent, 300, float(max(1, rounded(60.0 - now))), 0)
    assert 60.0 <= pacer.ready_at(now) <= 60.6
