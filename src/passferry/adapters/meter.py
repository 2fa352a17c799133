"""Figures in the text format of Prometheus.

Counts and times are kept as things happen; levels (backlog, quota, …) are handed in when it is asked for.
Every label has few values and none comes from outside: orgs of the configuration, codes and kinds of our own.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector

from passferry.domain.outcome import Kind

ACCEPT_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
DELIVERY_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 72 * 3600)
COMMITTED = ("accepted", "replayed")
TOKEN_FAILURES = ("refused", "throttled", "unavailable")


@dataclass(frozen=True, slots=True)
class Levels:
    """An org at the moment of a scrape."""

    waiting: int
    parked: int
    oldest_seconds: float  # 0 when nothing waits
    paused: str | None  # "operator", or the code for which delivery paused itself
    quota_used: int | None  # None: another process delivers for the org
    quota_allowed: int | None
    head_seq: int
    dry_run: bool = False


_LEVELS: Mapping[str, str] = {
    "waiting": "Changes that wait for their delivery or are being delivered.",
    "parked": "Changes that wait for a person or for the world to change.",
    "oldest_seconds": "How long the longest-waiting of them has waited; parked ones apart.",
    "quota_used": "Requests that count against the target's limit now.",
    "quota_allowed": "Requests a minute that the target allows, as far as is known.",
    "head_seq": "Number of the newest record of the audit trail.",
    "dry_run": "Whether the org is in a dry run, in which nothing is written to it.",
}
_NAMES: Mapping[str, str] = {
    "waiting": "passferry_backlog_changes",
    "parked": "passferry_parked_changes",
    "oldest_seconds": "passferry_backlog_oldest_seconds",
    "quota_used": "passferry_quota_used_requests",
    "quota_allowed": "passferry_quota_allowed_requests",
    "head_seq": "passferry_audit_head_sequence",
    "dry_run": "passferry_org_dry_run",
}


class PrometheusMeter:
    """The port ``Meter``, and what it counted as text."""

    def __init__(self, orgs: Iterable[str]) -> None:
        """Count for ``orgs``, each from 0, so that a first event is seen as an increase."""
        self._registry = CollectorRegistry()
        self._answers = Counter(
            "passferry_http_answers_total",
            "Answers to requests, by the template of the route (none: it reached none) and by status.",
            ["route", "status"],
            registry=self._registry,
        )
        self._accepts = Counter(
            "passferry_accepts_total",
            "Requests to accept a change, by result: accepted, replayed, or the code of the refusal.",
            ["org", "result"],
            registry=self._registry,
        )
        self._accept_seconds = Histogram(
            "passferry_accept_seconds",
            "Seconds until a change was committed to disk; refused ones apart.",
            buckets=ACCEPT_SECONDS,
            registry=self._registry,
        )
        self._tries = Counter(
            "passferry_attempts_total",
            "Tries to deliver a change, by outcome.",
            ["org", "outcome"],
            registry=self._registry,
        )
        self._delivery_seconds = Histogram(
            "passferry_delivery_seconds",
            "Seconds from accept to applied.",
            buckets=DELIVERY_SECONDS,
            registry=self._registry,
        )
        self._expired = Counter(
            "passferry_expired_total",
            "Changes whose time to live ran out before they were delivered.",
            ["org"],
            registry=self._registry,
        )
        self._tokens = Counter(
            "passferry_token_failures_total",
            "Token requests that brought no token, by kind.",
            ["org", "kind"],
            registry=self._registry,
        )
        ProcessCollector(registry=self._registry)
        for org in orgs:
            self._start(org)

    def _start(self, org: str) -> None:
        for result in COMMITTED:
            self._accepts.labels(org, result)
        for outcome in Kind:
            self._tries.labels(org, outcome.value)
        for kind in TOKEN_FAILURES:
            self._tokens.labels(org, kind)
        self._expired.labels(org)

    def accept_ended(self, org: str, result: str, seconds: float) -> None:
        """See the port."""
        self._accepts.labels(org, result).inc()
        if result in COMMITTED:
            self._accept_seconds.observe(seconds)

    def answered(self, route: str, status: int) -> None:
        """A request was answered; ``route`` is a template, ``status`` 499 where the caller had gone."""
        self._answers.labels(route, str(status)).inc()

    def tried(self, org: str, kind: Kind) -> None:
        """See the port."""
        self._tries.labels(org, kind.value).inc()

    def applied(self, org: str, seconds: float) -> None:
        """See the port."""
        self._delivery_seconds.observe(seconds)

    def expired(self, org: str, changes: int) -> None:
        """See the port."""
        self._expired.labels(org).inc(changes)

    def token_failed(self, org: str, kind: str) -> None:
        """See the port."""
        self._tokens.labels(org, kind).inc()

    def expose(
        self,
        levels: Mapping[str, Levels],
        hashes: int,
        orgs: Collection[str] = (),
        stopped: Mapping[str, bool] | None = None,
        *,
        clock_unconfirmed: bool = False,
    ) -> bytes:
        """Everything as text (format 0.0.4).

        Args:
            levels: of each org, now.
            hashes: verifiers asked for and not done yet.
            orgs: whose figures are shown; empty: all. What belongs to no org is shown in any case.
            stopped: whether a source sent more in an hour than it may, of those that have such a limit.
            clock_unconfirmed: whether no answer of a target has confirmed the clock for too long.
        """
        now = [*_families(levels, hashes), _stopped(stopped or {}), _clock(unconfirmed=clock_unconfirmed)]
        return generate_latest(_Scrape(self._registry, now, orgs))


class _Scrape(Collector):
    """What one scrape shows."""

    def __init__(self, kept: Collector, now: Iterable[Metric], orgs: Collection[str]) -> None:
        self._kept, self._now, self._orgs = kept, now, orgs

    def collect(self) -> Iterator[Metric]:
        """The kept figures and the levels, of the orgs that may be seen."""
        for family in (*self._kept.collect(), *self._now):
            family.samples = [
                sample
                for sample in family.samples
                if not sample.name.endswith("_created")  # doubles the size and says little
                and (not self._orgs or "org" not in sample.labels or sample.labels["org"] in self._orgs)
            ]
            yield family


def _clock(*, unconfirmed: bool) -> Metric:
    family = GaugeMetricFamily(
        "passferry_clock_unconfirmed",
        "Whether no answer of any target confirmed the clock for 7 days: nothing expires.",
    )
    family.add_metric([], float(unconfirmed))
    return family


def _stopped(sources: Mapping[str, bool]) -> Metric:
    family = GaugeMetricFamily(
        "passferry_source_stopped",
        "Whether a source is stopped: it sent more changes in an hour than it may.",
        labels=["source"],
    )
    for source, is_stopped in sources.items():
        family.add_metric([source], float(is_stopped))
    return family


def _families(levels: Mapping[str, Levels], hashes: int) -> Iterator[Metric]:
    for field, text in _LEVELS.items():
        family = GaugeMetricFamily(_NAMES[field], text, labels=["org"])
        for org, level in levels.items():
            if (value := getattr(level, field)) is not None:
                family.add_metric([org], float(value))
        yield family
    paused = GaugeMetricFamily(
        "passferry_org_paused",
        "Whether the org is paused: by an operator, or by delivery itself.",
        labels=["org", "by"],
    )
    for org, level in levels.items():
        by_operator = level.paused == "operator"
        paused.add_metric([org, "operator"], float(by_operator))
        paused.add_metric([org, "delivery"], float(level.paused is not None and not by_operator))
    yield paused
    queue = GaugeMetricFamily(
        "passferry_hash_queue", "Argon2id hashes asked for and not done yet, those under way included."
    )
    queue.add_metric([], hashes)
    yield queue
