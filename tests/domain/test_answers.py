"""Every answer a target may give is put into the right outcome, and nothing foreign comes along."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry.domain.answers import Answer, classify_read, classify_write, http_date, retry_after
from passferry.domain.audit import safe_code, safe_id
from passferry.domain.outcome import Kind
from passferry.domain.password import Password

PASSWORD = Password("Canary-7f3a-Passw0rd!")
HTML = b"<html><body>502 Bad Gateway</body></html>"
NOON = "Tue, 24 Nov 2026 12:00:00 GMT"


def answer(status: int, body: Any = None, **headers: str) -> Answer:
    """An answer with a JSON body, or with the bytes given, or with none."""
    content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, content)


def error_body(code: str | None, message: str = "words") -> dict[str, Any]:
    """Genesys Cloud's own error shape."""
    return {"message": message, "status": 400, "contextId": "c-1"} | ({} if code is None else {"code": code})


def scim_error(scim_type: str | None, detail: str = "words") -> dict[str, Any]:
    """The error shape of RFC 7644 §3.12."""
    shape = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": "400", "detail": detail}
    return shape | ({} if scim_type is None else {"scimType": scim_type})


WRITES = [
    (answer(200, {"id": "1"}), Kind.APPLIED, ""),
    (answer(200), Kind.APPLIED, ""),
    (answer(204), Kind.APPLIED, ""),
    (answer(201, {}), Kind.APPLIED, ""),
    (answer(200, HTML), Kind.UNKNOWN, "target.answer.unusable"),
    (answer(200, b'{"id":'), Kind.UNKNOWN, "target.answer.unusable"),
    (answer(202, {"id": "1"}), Kind.UNKNOWN, "target.answer.unusable"),
    (answer(202), Kind.UNKNOWN, "target.answer.unusable"),
    (answer(200, error_body("password.too.short")), Kind.UNKNOWN, "target.answer.unusable"),
    (answer(200, error_body(None)), Kind.UNKNOWN, "target.answer.unusable"),
    (answer(200, scim_error(None)), Kind.UNKNOWN, "target.answer.unusable"),
    (answer(200, {"id": "1", "code": "a user may have such an attribute"}), Kind.APPLIED, ""),
    (answer(301, HTML), Kind.UNAVAILABLE, "target.redirect"),
    (answer(307), Kind.UNAVAILABLE, "target.redirect"),
    (answer(303), Kind.UNKNOWN, "target.redirect"),
    (answer(400, error_body("password.reused")), Kind.REFUSED, "password.reused"),
    (answer(400, error_body("password.not.enough.digits")), Kind.REFUSED, "password.not.enough.digits"),
    (answer(400, error_body(None)), Kind.REFUSED, ""),
    (answer(400), Kind.REFUSED, ""),
    (answer(400, HTML), Kind.UNKNOWN, "target.answer.unusable"),
    (answer(400, error_body("client.failed.request")), Kind.UNAVAILABLE, "target.unavailable"),
    (answer(400, scim_error("invalidValue")), Kind.REFUSED, "invalidValue"),
    (answer(400, scim_error("invalidValue", "x password.reused: y")), Kind.REFUSED, "password.reused"),
    (answer(400, scim_error("invalidValue", "see password.secret.rule")), Kind.REFUSED, "invalidValue"),
    (
        answer(400, scim_error("invalidValue", "The new password has been used too recently")),
        Kind.REFUSED,
        "password.reused",
    ),
    (answer(400, scim_error("invalidVers")), Kind.CONFLICT, "version.conflict"),
    (answer(409, scim_error("invalidVers")), Kind.CONFLICT, "version.conflict"),
    (answer(409, error_body("general.resource.conflict")), Kind.CONFLICT, "version.conflict"),
    (answer(409, scim_error("uniqueness")), Kind.REFUSED, "uniqueness"),
    (answer(412), Kind.CONFLICT, "version.conflict"),
    (answer(400, error_body("password.too.young")), Kind.NOT_NOW, "password.too.young"),
    (answer(401, error_body("bad.credentials")), Kind.UNAUTHORIZED, "bad.credentials"),
    (answer(401), Kind.UNAUTHORIZED, "bad.credentials"),
    (answer(401, error_body("ip.not.authorized")), Kind.ORG_DOWN, "ip.not.authorized"),
    (answer(403, error_body("missing.division.permission")), Kind.BLOCKED, "missing.division.permission"),
    (
        answer(403, error_body("missing.any.division.permissions")),
        Kind.BLOCKED,
        "missing.any.division.permissions",
    ),
    (answer(403, error_body("missing.any.permissions")), Kind.ORG_DOWN, "missing.any.permissions"),
    (answer(403, error_body("authz.policy.denied")), Kind.ORG_DOWN, "authz.policy.denied"),
    (answer(403), Kind.ORG_DOWN, "not.authorized"),
    (answer(404, error_body("general.resource.not.found")), Kind.BLOCKED, "user.unknown"),
    (answer(405), Kind.ORG_DOWN, "not.authorized"),
    (answer(501), Kind.ORG_DOWN, "not.authorized"),
    (answer(407), Kind.UNAVAILABLE, "target.unavailable"),
    (answer(408, error_body("client.timeout")), Kind.UNKNOWN, "target.unavailable"),
    (answer(413, error_body("request.entity.too.large")), Kind.REFUSED, "request.entity.too.large"),
    (answer(415, error_body("unsupported.media.type")), Kind.REFUSED, "unsupported.media.type"),
    (answer(429, error_body("too.many.requests.retry.after")), Kind.THROTTLED, "too.many.requests"),
    (answer(500, error_body("internal.server.error")), Kind.UNKNOWN, "target.unavailable"),
    (answer(502, HTML), Kind.UNKNOWN, "target.unavailable"),
    (answer(503, error_body("service.unavailable")), Kind.UNKNOWN, "target.unavailable"),
    (answer(504), Kind.UNKNOWN, "target.unavailable"),
    (answer(520, HTML), Kind.UNKNOWN, "target.unavailable"),
]


@pytest.mark.parametrize(("given_answer", "kind", "code"), WRITES)
def test_an_answer_to_a_write_is_classified(given_answer: Answer, kind: Kind, code: str) -> None:
    """Each documented and each odd answer to a write has its outcome and public code."""
    outcome = classify_write(given_answer, PASSWORD)
    assert (outcome.kind, outcome.code) == (kind, code)


@pytest.mark.parametrize(
    ("given_answer", "kind", "code"),
    [
        (answer(301), Kind.UNAVAILABLE, "target.redirect"),
        (answer(304), Kind.UNAVAILABLE, "target.redirect"),
        (answer(204), Kind.UNAVAILABLE, "target.answer.unusable"),
        (answer(400, error_body("invalid.value")), Kind.BLOCKED, "invalid.value"),
        (answer(400, HTML), Kind.UNAVAILABLE, "target.answer.unusable"),
        (answer(400), Kind.UNAVAILABLE, "target.answer.unusable"),
        (answer(401), Kind.UNAUTHORIZED, "bad.credentials"),
        (answer(403, error_body("missing.permissions")), Kind.ORG_DOWN, "missing.permissions"),
        (answer(404), Kind.BLOCKED, "user.unknown"),
        (answer(410), Kind.BLOCKED, "user.unknown"),
        (answer(429), Kind.THROTTLED, "too.many.requests"),
        (answer(500), Kind.UNAVAILABLE, "target.unavailable"),
        (answer(502, HTML), Kind.UNAVAILABLE, "target.unavailable"),
    ],
)
def test_an_answer_to_a_read_is_never_in_doubt(given_answer: Answer, kind: Kind, code: str) -> None:
    """A read changes nothing, so whatever fails is unavailable, and nothing ends a change for good."""
    outcome = classify_read(given_answer)
    assert outcome is not None
    assert (outcome.kind, outcome.code) == (kind, code)


def test_a_good_read_is_no_outcome() -> None:
    """200 is left to whoever knows what was asked for."""
    assert classify_read(answer(200, HTML)) is None


@pytest.mark.parametrize(
    "body",
    [
        error_body(None, "password cannot be changed until 2026-11-24T12:00:00Z"),
        error_body("invalid.password", "The password cannot be changed until 2026-11-24T12:00:00Z."),
        scim_error("invalidValue", "password cannot be changed until 2026-11-24T12:00:00.123Z"),
    ],
)
def test_a_minimum_age_names_the_time_from_which_on_it_works(body: dict[str, Any]) -> None:
    """The documented text gives the second, whatever code it comes with."""
    outcome = classify_write(answer(400, body), PASSWORD)
    assert (outcome.kind, outcome.not_before) == (Kind.NOT_NOW, http_date(NOON))


@pytest.mark.parametrize("wrong", [-86400.0, -60.0, -1.0, 0.0, 1.0, 9.0, 60.0, 86400.0])
def test_the_time_of_a_minimum_age_is_told_by_our_clock(wrong: float) -> None:
    """The target's clock named it; its ``Date`` tells by how much ours differs. An answer may take 10 s."""
    body = error_body(None, "password cannot be changed until 2026-11-24T13:00:00Z")
    given_answer = replace(answer(400, body, date=NOON), seconds=10.0)
    noon = http_date(NOON) or 0.0
    outcome = classify_write(given_answer, PASSWORD, noon + wrong)
    shift = wrong if abs(wrong) >= 60.0 else 0.0
    assert outcome.not_before == noon + 3600.0 + shift


def test_an_impossible_time_is_no_time() -> None:
    """A timestamp that no calendar has is ignored; the code still says that it is too young."""
    text = "password cannot be changed until 2026-02-31T12:00:00Z"
    outcome = classify_write(answer(400, error_body("password.too.young", text)), PASSWORD)
    assert (outcome.kind, outcome.not_before) == (Kind.NOT_NOW, None)


@pytest.mark.parametrize(
    ("headers", "now", "seconds"),
    [
        ({"retry_after": "1"}, None, 1.0),
        ({"retry_after": "181"}, None, 181.0),
        ({"retry_after": "86400"}, None, 86400.0),
        ({"retry_after": "99999999"}, None, 604800.0),
        ({"retry_after": "0"}, None, 1.0),
        ({"retry_after": "soon"}, None, 60.0),
        ({"retry_after": "-5"}, None, 60.0),
        ({"retry_after": "9" * 5000}, None, 60.0),
        ({"retry_after": "Tue, 24 Nov 2026 12:00:42 GMT", "date": NOON}, 0.0, 42.0),
        ({"retry_after": "Tue, 24 Nov 2026 11:00:00 GMT", "date": NOON}, None, 1.0),
        ({"retry_after": "Tue, 24 Nov 2026 12:00:42 GMT"}, http_date(NOON), 42.0),
        ({"retry_after": "Tue, 24 Nov 2026 12:00:42 GMT"}, None, 60.0),
        ({"inin_ratelimit_reset": "38"}, None, 38.0),
        ({"retry_after": "5", "inin_ratelimit_reset": "38"}, None, 5.0),
        ({"inin_ratelimit_reset": "x"}, None, 60.0),
        ({}, None, 60.0),
    ],
)
def test_throttling_says_for_how_long(headers: dict[str, str], now: float | None, seconds: float) -> None:
    """Retry-After as seconds or date, then the window's reset, then a minute; at least one second."""
    outcome = classify_write(answer(429, **headers), PASSWORD, now)
    assert outcome.retry_after == seconds


def test_an_overloaded_target_may_say_when_to_come_back() -> None:
    """Retry-After of a 503 is kept, and nothing is made up where it is missing."""
    assert classify_write(answer(503, retry_after="30"), PASSWORD).retry_after == 30.0
    assert classify_write(answer(503), PASSWORD).retry_after is None


def test_a_success_may_state_the_new_version() -> None:
    """ETag first, else meta.version, else none."""
    body = {"id": "1", "meta": {"version": '"8"'}}
    assert classify_write(answer(200, body, etag='W/"9"'), PASSWORD).version == "9"
    assert classify_write(answer(200, body), PASSWORD).version == "8"
    assert classify_write(answer(204), PASSWORD).version is None


def test_the_correlation_id_is_the_headers_or_the_bodys() -> None:
    """ININ-Correlation-Id, else contextId of an error; neither when it has not the form of an id."""
    body = error_body("password.reused")
    assert classify_write(answer(400, body, inin_correlation_id="a-1"), PASSWORD).correlation_id == "a-1"
    assert classify_write(answer(400, body), PASSWORD).correlation_id == "c-1"
    assert classify_write(answer(204, inin_correlation_id="a b"), PASSWORD).correlation_id is None


def test_a_target_that_echoes_the_password_is_not_repeated() -> None:
    """A code or id in which the password occurs is dropped; public constants are not its words."""
    secret = Password("Geheim")
    body = {"code": "refused.Geheim.value", "contextId": "xGeheimx", "message": "Geheim"}
    outcome = classify_write(answer(400, body, inin_correlation_id="Geheim-1"), secret)
    assert (outcome.kind, outcome.code, outcome.correlation_id) == (Kind.REFUSED, "", None)
    assert classify_write(answer(200, etag='"Geheim"'), secret).version is None
    assert (
        classify_write(answer(400, error_body("password.reused")), Password("reused")).code
        == "password.reused"
    )


@given(
    st.integers(100, 999),
    st.binary()
    | st.dictionaries(st.sampled_from(["code", "scimType", "detail", "message", "meta"]), st.text()).map(
        lambda body: json.dumps(body).encode()
    ),
    st.dictionaries(st.sampled_from(["retry-after", "date", "etag", "inin-ratelimit-reset"]), st.text()),
)
def test_any_answer_has_an_outcome_of_safe_words(status: int, body: bytes, headers: dict[str, str]) -> None:
    """No answer makes the classification fail, and its code and id have the safe form."""
    outcome = classify_write(Answer(status, headers, body), PASSWORD, 0.0)
    assert outcome.code == "" or safe_code(outcome.code) == outcome.code
    assert outcome.correlation_id == safe_id(outcome.correlation_id)
    assert outcome.retry_after is None or 0.0 <= outcome.retry_after <= 604800.0
    assert classify_read(Answer(status, headers, body)) is not None or status == 200


@given(st.text(max_size=80))
def test_any_text_is_a_date_or_none(text: str) -> None:
    """Garbage in a date header is no date."""
    assert http_date(text) is None or retry_after({"retry-after": text, "date": text}) is not None


def test_an_answer_does_not_show_its_body() -> None:
    """The repr of an answer is its status."""
    assert repr(answer(400, {"detail": "words"})) == "Answer(400)"


def test_a_success_that_shows_another_user_is_none() -> None:
    """Nobody knows whose password was set; the same id in other letters, or nobody shown, is no doubt."""
    shown = {"id": "ABC", "meta": {"version": "8"}}
    other = classify_write(answer(200, shown, inin_correlation_id="a-1"), PASSWORD, user_id="abd")
    assert (other.kind, other.code, other.correlation_id) == (Kind.UNKNOWN, "user.changed", "a-1")
    for body in (shown, {"userName": "somebody"}, {"id": 5}):
        assert classify_write(answer(200, body), PASSWORD, user_id="abc").kind is Kind.APPLIED
    assert classify_write(answer(204), PASSWORD, user_id="abc").kind is Kind.APPLIED
