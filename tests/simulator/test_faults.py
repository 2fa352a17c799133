"""Every fault does what its name says, at the rate and in the place that were asked for."""

from email.utils import parsedate_to_datetime

import pytest

from passferry.simulator import FAULTS, Fate, Fault, Settings, Simulator
from passferry.simulator.faults import Scope, choose
from simulator.caller import GOOD, USERS, Answer, Caller, Clock, calm

ME = "/api/v2/tokens/me"


def struck(caller: Caller, fault: Fault, via: str = "put") -> Answer:
    """The answer to a password write that a fault strikes."""
    user = caller.user()
    caller.simulator.next(fault)
    if via == "native":
        return caller.native(user["id"])
    if via == "patch":
        return caller.patch(user["id"], {"op": "replace", "path": "password", "value": GOOD})
    return caller.put(user, headers={"if-match": f'"{user["meta"]["version"]}"'}, password=GOOD)


def written(caller: Caller) -> bool:
    """Whether the write was applied."""
    return caller.simulator.password_of("agent001@example.com") == GOOD


@pytest.mark.parametrize(
    ("fault", "retry_after", "code"),
    [
        (Fault.THROTTLED_1, "1", "too.many.requests.retry.after"),
        (Fault.THROTTLED_42, "42", "too.many.requests.retry.after"),
        (Fault.THROTTLED_181, "181", "too.many.requests.retry.after"),
        (Fault.THROTTLED_SILENT, None, "too.many.requests"),
    ],
)
def test_throttling_faults_answer_429_before_the_write(
    fault: Fault, retry_after: str | None, code: str
) -> None:
    """Each has its own Retry-After, or none, and is not counted as a breach of the limit."""
    caller = calm()
    answer = struck(caller, fault)
    assert (answer.status, answer.code, answer.header("Retry-After")) == (429, code, retry_after)
    assert not written(caller)
    assert caller.simulator.stats()["rateLimited"] == 0
    assert caller.simulator.stats()["faults"] == {fault.value: 1}


def test_throttled_date_gives_a_date_five_seconds_ahead() -> None:
    """The other form of Retry-After (RFC 9110 section 10.2.3)."""
    clock = Clock()
    answer = struck(calm(clock), Fault.THROTTLED_DATE)
    assert answer.status == 429
    assert parsedate_to_datetime(str(answer.header("Retry-After"))).timestamp() == clock.now + 5


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (Fault.UNAVAILABLE, 503, "service.unavailable"),
        (Fault.SERVER_ERROR, 500, "internal.server.error"),
        (Fault.ERROR_WITHOUT_CODE, 400, None),
        (Fault.EMPTY_BODY, 500, None),
        (Fault.IP_NOT_AUTHORIZED, 401, "ip.not.authorized"),
        (Fault.VANISHED, 404, "general.resource.not.found"),
        (Fault.BAD_GATEWAY, 502, None),
    ],
)
def test_errors_before_the_write_leave_nothing_behind(fault: Fault, status: int, code: str | None) -> None:
    """The write is not applied, and the next try works."""
    caller = calm()
    answer = struck(caller, fault)
    assert (answer.status, answer.code) == (status, code)
    assert not written(caller)
    assert caller.put(caller.user(), password=GOOD).status == 200


def test_an_error_without_code_still_has_a_message_and_an_empty_body_has_nothing() -> None:
    """What is missing is exactly what the fault's name says."""
    assert set(struck(calm(), Fault.ERROR_WITHOUT_CODE).json) >= {"message", "status", "contextId"}
    assert struck(calm(), Fault.EMPTY_BODY).reply.body == b""
    assert struck(calm(), Fault.UNAVAILABLE).header("Retry-After") == "2"


@pytest.mark.parametrize(("fault", "status"), [(Fault.BAD_GATEWAY, 502), (Fault.GATEWAY_TIMEOUT, 504)])
def test_gateway_body_decides_between_html_and_json(fault: Fault, status: int) -> None:
    """Switch gateway_body."""
    html = struck(calm(), fault)
    assert (html.status, html.header("Content-Type")) == (status, "text/html")
    assert b"<html>" in html.reply.body
    assert struck(calm(gateway_body="json"), fault).json["status"] == status


@pytest.mark.parametrize("via", ["put", "patch", "native"])
@pytest.mark.parametrize(
    ("fault", "status", "fate"),
    [
        (Fault.GATEWAY_TIMEOUT, 504, Fate.ANSWER),
        (Fault.EMPTY_SUCCESS, 200, Fate.ANSWER),
        (Fault.RESET_AFTER, None, Fate.RESET),
        (Fault.LOST_ANSWER, None, Fate.HANG),
    ],
)
def test_faults_after_the_write_leave_it_applied(
    fault: Fault, status: int | None, fate: Fate, via: str
) -> None:
    """The caller cannot know, and a repeat meets password.reused."""
    caller = calm()
    answer = struck(caller, fault, via)
    assert answer.reply.fate is fate
    if status is not None:
        assert answer.status == status
    assert written(caller)
    assert caller.native(caller.user()["id"]).code == "password.reused"


def test_an_empty_success_has_no_body_and_a_refusal_keeps_its_own() -> None:
    """empty_success strikes only what succeeded."""
    assert struck(calm(), Fault.EMPTY_SUCCESS).reply.body == b""
    assert struck(calm(minimum_length=100), Fault.EMPTY_SUCCESS).code == "password.too.short"


def test_reset_before_applies_nothing() -> None:
    """The connection is cut, the write never happened."""
    caller = calm()
    assert struck(caller, Fault.RESET_BEFORE).reply.fate is Fate.RESET
    assert not written(caller)


def test_lost_answer_keeps_silent_for_hang_seconds() -> None:
    """Setting hang_seconds."""
    assert struck(calm(hang_seconds=7), Fault.LOST_ANSWER).reply.delay == 7


def test_a_slow_answer_comes_after_slow_seconds_and_its_write_at_once() -> None:
    """Setting slow_seconds; latency is added to it."""
    caller = calm(slow_seconds=9, latency=0.5)
    answer = struck(caller, Fault.SLOW)
    assert (answer.status, answer.reply.delay) == (200, 9.5)
    assert written(caller)
    assert caller.send("GET", ME).reply.delay == 0.5


def test_a_late_write_is_applied_late_seconds_after_it_arrived() -> None:
    """Setting late_seconds: not before, then even without another request, at its own time."""
    clock = Clock()
    caller = calm(clock, late_seconds=3)
    answer = struck(caller, Fault.LATE_WRITE)
    assert answer.reply.fate is Fate.HANG
    clock.now += 2.9
    assert not written(caller)
    clock.now += 10
    assert written(caller)
    assert caller.simulator.writes("agent001@example.com")[0].time == clock.now - 9.9
    assert len(caller.simulator.journal()) == caller.simulator.stats()["requests"] + 1
    assert caller.simulator.stats()["faults"] == {"late_write": 1}


def test_a_late_write_whose_version_is_stale_by_then_is_refused() -> None:
    """If-Match is judged when the write is applied, so a newer one in between wins."""
    clock = Clock()
    caller = calm(clock)
    struck(caller, Fault.LATE_WRITE)
    assert caller.put(caller.user(), password=GOOD + "-newer").status == 200
    clock.now += 60
    assert caller.simulator.password_of("agent001@example.com") == GOOD + "-newer"
    assert [e.status for e in caller.simulator.journal() if e.fault == "late_write"] == [0, 409]


def test_two_late_writes_at_once_are_applied_in_their_order() -> None:
    """The order of arrival decides among equal times."""
    clock = Clock()
    caller = calm(clock)
    user_id = caller.user()["id"]
    caller.simulator.next("late_write", count=2)
    caller.native(user_id, GOOD + "1")
    caller.native(user_id, GOOD + "2")
    clock.now += 60
    assert [write.password for write in caller.simulator.writes(user_id)] == [GOOD + "1", GOOD + "2"]


def test_a_token_that_dies_is_bad_credentials_and_a_new_one_helps() -> None:
    """token_dies ends the token before expires_in."""
    caller = calm()
    answer = struck(caller, Fault.TOKEN_DIES)
    assert (answer.status, answer.code) == (401, "bad.credentials")
    assert caller.send("GET", ME).status == 401
    caller.fetch_token()
    assert caller.put(caller.user(), password=GOOD).status == 200


def test_token_throttled_is_400_rate_limit_exceeded() -> None:
    """The words that the official Terraform provider looks for."""
    caller = calm()
    caller.simulator.next(Fault.TOKEN_THROTTLED)
    answer = caller.fetch_token()
    assert (answer.status, answer.json["error"]) == (400, "invalid_request")
    assert answer.json["error_description"].startswith("rate limit exceeded;")
    assert caller.fetch_token().status == 200


@pytest.mark.parametrize("via", ["put"])
def test_edited_between_makes_if_match_stale_and_changes_no_attribute(via: str) -> None:
    """Somebody else's edit moves the version just before the write."""
    caller = calm()
    before = caller.simulator.profile_text("agent001@example.com")
    answer = struck(caller, Fault.EDITED_BETWEEN, via)
    assert (answer.status, answer.json["scimType"]) == (409, "invalidVers")
    assert caller.simulator.profile_text("agent001@example.com") == before


def test_a_planned_fault_waits_for_the_request_it_fits() -> None:
    """Method and path choose; each strikes once."""
    caller = calm()
    user_id = caller.user()["id"]
    caller.simulator.next("server_error", method="put", path=f"{USERS}/*")
    caller.simulator.next("unavailable", path="/tokens/", count=2)
    assert caller.send("GET", f"{USERS}/{user_id}").status == 200
    assert [caller.send("GET", ME).status for _ in range(3)] == [503, 503, 200]
    assert caller.put(caller.user(), title="x").status == 500
    assert caller.put(caller.user(), title="x").status == 200
    assert caller.simulator.planned == ()


def test_planned_faults_can_be_cleared_and_unknown_ones_are_refused() -> None:
    """clear_planned; ValueError for a name that is none."""
    simulator = calm().simulator
    simulator.next("slow", count=3)
    simulator.clear_planned()
    assert simulator.planned == ()
    with pytest.raises(ValueError, match="earthquake"):
        simulator.next("earthquake")


@pytest.mark.parametrize("fault", list(Fault))
def test_a_probability_of_one_strikes_every_request_of_its_scope_and_no_other(fault: Fault) -> None:
    """Every fault has a rate that can be set while it runs."""
    caller = calm()
    user_id = caller.user()["id"]
    caller.simulator.set(faults={fault.value: 1})
    before = len(caller.simulator.journal())
    caller.fetch_token()
    caller.send("GET", ME)
    caller.native(user_id)
    scope = FAULTS[fault].scope
    expected = {
        Scope.TOKEN: [True, False, False],
        Scope.API: [False, True, True],
        Scope.WRITE: [False, False, True],
        Scope.ANY: [True, True, True],
    }[scope]
    entries = [entry for entry in caller.simulator.journal()[before:] if entry.method]
    assert [entry.fault == fault.value for entry in entries][:3] == expected


def test_the_draw_picks_faults_in_proportion_to_their_rates() -> None:
    """The ranges lie side by side, and beyond them nothing happens."""
    rates = {Fault.SLOW: 0.25, Fault.UNAVAILABLE: 0.5}
    scopes = frozenset({Scope.API, Scope.ANY})
    picked = [choose(rates, scopes, draw / 100) for draw in range(100)]
    assert [picked.count(fault) for fault in (Fault.SLOW, Fault.UNAVAILABLE, None)] == [25, 50, 25]
    assert choose(rates, frozenset({Scope.TOKEN, Scope.ANY}), 0.3) is None


def journal_of_faults(seed: int) -> list[str | None]:
    """The faults of 400 requests with the default settings."""
    caller = Caller(Simulator(clock=Clock(), seed=seed, users=5))
    for _ in range(400):
        caller.send("GET", ME)
    return [entry.fault for entry in caller.simulator.journal()]


def test_the_default_misbehaves_mildly_and_the_same_for_the_same_seed() -> None:
    """Some faults in 400 requests, few of them, and the seed decides which."""
    first = journal_of_faults(1)
    assert 0 < len([fault for fault in first if fault]) < 60
    assert journal_of_faults(1) == first
    assert journal_of_faults(2) != first


def test_lasting_and_confusing_faults_are_off_by_default() -> None:
    """What does not heal by itself has to be asked for; calm turns everything off."""
    rates = Settings().faults
    for fault in (Fault.VANISHED, Fault.IP_NOT_AUTHORIZED, Fault.ERROR_WITHOUT_CODE, Fault.LATE_WRITE):
        assert rates[fault] == 0
    assert sum(rates.values()) < 0.1
    assert set(Settings.calm().faults.values()) == {0.0}
    assert set(rates) == set(Fault)
