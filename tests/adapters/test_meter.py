"""The port ``Meter`` over Prometheus: what a scrape shows."""

from prometheus_client.parser import text_string_to_metric_families

from passferry.adapters.meter import Levels, PrometheusMeter
from passferry.domain.outcome import Kind
from passferry.ports import Meter, Unmetered

IDLE = Levels(0, 0, 0.0, None, 0, 300, 0)


def samples(text: bytes) -> dict[tuple[str, ...], float]:
    """Every sample by its name and the values of its labels, in the order of their names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_what_happened_is_counted() -> None:
    """Each event moves its own figure by one, and no other."""
    meter = PrometheusMeter(["default"])
    before = samples(meter.expose({}, 0))
    meter.accept_ended("default", "accepted", 0.004)
    meter.accept_ended("default", "policy", 5.0)
    meter.tried("default", Kind.THROTTLED)
    meter.applied("default", 40.0)
    meter.expired("default", 3)
    meter.token_failed("default", "refused")
    meter.answered("/sync/password", 503)
    after = samples(meter.expose({}, 0))
    moved: dict[tuple[str, ...], float] = {
        key: after[key] - before.get(key, 0.0) for key in after if key[0].startswith("passferry_")
    }
    expected: dict[tuple[str, ...], float] = {
        ("passferry_accepts_total", "default", "accepted"): 1,
        ("passferry_accepts_total", "default", "policy"): 1,
        ("passferry_accept_seconds_count",): 1,
        ("passferry_accept_seconds_sum",): 0.004,
        ("passferry_attempts_total", "default", "throttled"): 1,
        ("passferry_delivery_seconds_count",): 1,
        ("passferry_delivery_seconds_sum",): 40,
        ("passferry_expired_total", "default"): 3,
        ("passferry_token_failures_total", "refused", "default"): 1,
        ("passferry_http_answers_total", "/sync/password", "503"): 1,
    }
    for edge in ("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "10.0", "+Inf"):
        expected["passferry_accept_seconds_bucket", edge] = 1
    for edge in ("60.0", "300.0", "900.0", "3600.0", "14400.0", "86400.0", "259200.0", "+Inf"):
        expected["passferry_delivery_seconds_bucket", edge] = 1
    assert {key: value for key, value in moved.items() if value} == expected


def test_every_count_is_there_from_the_start() -> None:
    """Each outcome and kind of failure of each org is shown as 0, so that the first is an increase."""
    shown = samples(PrometheusMeter(["default", "emea"]).expose({}, 0))
    for org in ("default", "emea"):
        assert [shown["passferry_attempts_total", org, kind.value] for kind in Kind] == [0.0] * len(Kind)
        assert shown["passferry_accepts_total", org, "accepted"] == 0.0
        assert shown["passferry_expired_total", org] == 0.0
        for kind in ("refused", "throttled", "unavailable"):
            assert shown["passferry_token_failures_total", kind, org] == 0.0


def test_levels_are_those_of_the_moment() -> None:
    """A scrape shows what it was given, and nothing of the one before."""
    meter = PrometheusMeter(["default"])
    meter.expose({"default": Levels(9, 9, 9.0, "operator", 9, 9, 9)}, 9)
    level = Levels(7, 2, 61.5, "invalid_client", 12, 180, 40)
    shown = samples(meter.expose({"default": level}, 3))
    assert shown["passferry_backlog_changes", "default"] == 7
    assert shown["passferry_parked_changes", "default"] == 2
    assert shown["passferry_backlog_oldest_seconds", "default"] == 61.5
    assert shown["passferry_quota_used_requests", "default"] == 12
    assert shown["passferry_quota_allowed_requests", "default"] == 180
    assert shown["passferry_audit_head_sequence", "default"] == 40
    assert shown["passferry_org_paused", "delivery", "default"] == 1
    assert shown["passferry_org_paused", "operator", "default"] == 0
    assert shown["passferry_hash_queue",] == 3
    assert shown["passferry_clock_unconfirmed",] == 0
    assert samples(meter.expose({}, 0, clock_unconfirmed=True))["passferry_clock_unconfirmed",] == 1
    assert shown["process_resident_memory_bytes",] > 0


def test_a_pause_is_an_operators_or_deliverys_own() -> None:
    """Two series an org, of which at most one is 1."""
    meter = PrometheusMeter(["a", "b", "c"])
    paused = {"a": "operator", "b": "invalid_client", "c": None}
    levels = {org: Levels(0, 0, 0.0, why, 0, 300, 0) for org, why in paused.items()}
    shown = samples(meter.expose(levels, 0))
    found = {
        (org, by): shown["passferry_org_paused", by, org] for org in paused for by in ("operator", "delivery")
    }
    assert [key for key, value in found.items() if value] == [("a", "operator"), ("b", "delivery")]


def test_a_key_of_some_orgs_sees_no_others() -> None:
    """Nothing names an org outside of the list; what belongs to no org is shown."""
    meter = PrometheusMeter(["default", "emea"])
    text = meter.expose({"default": IDLE, "emea": IDLE}, 0, ["emea"]).decode()
    assert "default" not in text
    assert 'passferry_backlog_changes{org="emea"} 0.0' in text
    assert "passferry_accept_seconds_count 0.0" in text
    assert "passferry_hash_queue 0.0" in text


def test_a_name_of_an_org_cannot_break_the_text() -> None:
    """Quotes and line ends in a label are escaped."""
    odd = 'a"b\\c\nd'
    assert samples(PrometheusMeter([odd]).expose({odd: IDLE}, 0))["passferry_backlog_changes", odd] == 0


def test_who_keeps_nothing_takes_everything() -> None:
    """The silent meter has every method of the port."""
    meter: Meter = Unmetered()
    meter.accept_ended("default", "accepted", 0.1)
    meter.tried("default", Kind.APPLIED)
    meter.applied("default", 1.0)
    meter.expired("default", 1)
    meter.token_failed("default", "refused")
    assert {name for name in dir(Meter) if not name.startswith("_")} <= set(dir(meter))
