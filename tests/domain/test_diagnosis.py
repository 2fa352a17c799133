"""Judgements of a first look: each a pure function of answers and figures."""

import json
from typing import Any

import pytest

from passferry.domain import diagnosis
from passferry.domain.answers import Answer
from passferry.domain.diagnosis import Cause, Exit, Finding, Level, fail, ok, warn
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.policy import Rules


def answer(body: Any, **headers: str) -> Answer:
    """A 200 answer of JSON; ``_`` in the names of headers is ``-``."""
    return Answer(
        200, {name.replace("_", "-"): text for name, text in headers.items()}, json.dumps(body).encode()
    )


@pytest.mark.parametrize(
    ("causes", "code"),
    [
        ([], Exit.DONE),
        ([Cause.UNREACHABLE], Exit.UNREACHABLE),
        ([Cause.UNREACHABLE, Cause.REFUSED], Exit.FAILED),
        ([Cause.UNREACHABLE, Cause.REFUSED, Cause.SETTING], Exit.USAGE),
    ],
)
def test_what_can_be_mended_here_decides_the_exit_code(causes: list[Cause], code: Exit) -> None:
    """Settings before refusals, those before silence; warnings never count."""
    findings = [ok("a", "fine"), warn("b", "so so", "look"), *(fail("c", "bad", "mend", c) for c in causes)]
    assert diagnosis.exit_code(findings) is code


@pytest.mark.parametrize(
    ("differences", "level"),
    [
        ([], Level.WARN),
        ([30.0], Level.OK),
        ([-30.1], Level.WARN),
        ([300.0], Level.WARN),
        ([300.1], Level.FAIL),
        ([900.0, 2.0], Level.OK),
    ],
)
def test_the_smallest_difference_of_the_clocks_counts(differences: list[float], level: Level) -> None:
    """An answer that was long under way makes no clock wrong; without any Date it is a warning."""
    assert diagnosis.clock(differences).level is level


def test_silence_stays_a_failure_and_a_refusal_becomes_a_warning() -> None:
    """What was refused and is not needed is softened; what may answer later is not hidden."""
    silent = diagnosis.failed("limits", Outcome(Kind.UNAVAILABLE, "target.unavailable"), "read limits")
    refused = diagnosis.failed("limits", Outcome(Kind.ORG_DOWN, "missing.permissions"), "read limits")
    assert diagnosis.softened(silent, "nothing").level is Level.FAIL
    assert diagnosis.softened(refused, "nothing").level is Level.WARN


@pytest.mark.parametrize("kind", list(Kind))
def test_every_failure_has_a_remedy_and_a_cause(kind: Kind) -> None:
    """Whatever a target answers, somebody is told what to do."""
    finding = diagnosis.failed("users", Outcome(kind), "list users")
    assert finding.remedy
    assert finding.cause is not None


@pytest.mark.parametrize(
    ("space", "key", "value", "level"),
    [
        ("platform.api", "client.credentials.token.rate.per.minute", 299, Level.WARN),
        ("platform.api", "client.credentials.token.rate.per.minute", 300, Level.OK),
        ("platform.api", "some.other.rate.per.minute", 1, Level.OK),
        ("scim", "whatever.rate.per.minute", 100, Level.WARN),
        ("scim", "whatever.size", 100, Level.WARN),
    ],
)
def test_a_limit_that_counts_our_requests_is_compared_with_our_rate(
    space: str, key: str, value: int, level: Level
) -> None:
    """Only limits of our token and of SCIM are held against a rate of 300; without any it is a warning."""
    stated = answer({"entities": [{"key": key, "value": value}, {"key": 5}, "nonsense"]})
    assert diagnosis.limits({space: stated}, 300.0).level is level


@pytest.mark.parametrize("body", [{}, [], "text", {"passwordRequirements": []}, {"passwordRequirements": {}}])
def test_rules_that_are_not_stated_are_a_warning(body: Any) -> None:
    """Every member of the settings is optional, and may be nonsense."""
    assert diagnosis.policy(answer(body), Rules()).level is Level.WARN


def test_all_rules_that_differ_are_named_with_what_to_set() -> None:
    """One line has every difference, as the configuration writes it."""
    theirs = {"minimumLength": 10, "minimumUpper": 1, "minimumSpecials": 0, "minimumAgeSeconds": 0}
    found = diagnosis.policy(answer({"passwordRequirements": theirs}), Rules())
    assert found.remedy == "set policy.minimum_length = 10, policy.minimum_specials = 0"


@pytest.mark.parametrize(
    ("body", "level"),
    [
        ({"OAuthClient": {"id": "MINE", "authorizedGrantType": "CLIENT-CREDENTIALS"}}, Level.OK),
        ({"OAuthClient": {"authorizedGrantType": "client_credentials"}}, Level.OK),
        ({"OAuthClient": {"authorizedGrantType": "CODE"}}, Level.FAIL),
        ({"OAuthClient": {"id": "other"}}, Level.WARN),
        ({}, Level.OK),
        ([], Level.WARN),
    ],
)
def test_the_token_is_that_of_the_client_with_the_right_grant(body: Any, level: Level) -> None:
    """Another grant fails, another client is a warning, what is not stated is neither."""
    assert diagnosis.identity(answer(body), "mine").level is level


@pytest.mark.parametrize(
    ("config", "write", "level"),
    [
        ({"patch": {"supported": False}}, "scim-patch", Level.FAIL),
        ({"changePassword": {"supported": True}, "etag": {"supported": True}}, "scim-put", Level.OK),
        ({"changePassword": {"supported": False}, "etag": {"supported": True}}, "scim-put", Level.WARN),
        ([], "scim-put", Level.WARN),
    ],
)
def test_a_write_mode_that_the_target_lacks_fails(config: Any, write: str, level: Level) -> None:
    """PATCH is needed by scim-patch alone; what else is not promised is a warning."""
    assert diagnosis.features(answer(config), write).level is level


def test_a_statement_of_another_limit_in_headers_is_a_warning() -> None:
    """The last answer that states a limit counts; nonsense states none."""
    first = answer({}, inin_ratelimit_allowed="300", inin_ratelimit_count="1", inin_correlation_id="x")
    last = answer({}, inin_ratelimit_allowed="180", inin_correlation_id="y")
    nonsense = answer({}, inin_ratelimit_allowed="many")
    assert diagnosis.headers([first], 300.0).level is Level.OK
    assert "180" in diagnosis.headers([first, last], 300.0).remedy
    assert diagnosis.headers([nonsense], 300.0).level is Level.WARN


def test_texts_of_the_target_are_shown_printable_and_short() -> None:
    """Control characters are left out, 80 characters stay, what is no text is a question mark."""
    assert diagnosis.shown("a\x1b[1m\nb" + "c" * 100) == "a[1mb" + "c" * 75
    assert diagnosis.shown(None) == diagnosis.shown(" \n") == "?"


def test_a_finding_of_the_machine_has_no_org() -> None:
    """The org is added by whoever asked it."""
    assert ok("state", "fine") == Finding("state", Level.OK, "fine")
