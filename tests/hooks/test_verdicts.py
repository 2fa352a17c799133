from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry.entrypoints.http_answers import NOT_ACCEPTED
from passferry.hooks.verdicts import MOST_SHOWN, Answer, Verdict, Wait, of_change, of_check

MEMBERS = st.dictionaries(
    st.sampled_from(["success", "message", "code", "errors", "changeId", "status", "x"]),
    st.none() | st.booleans() | st.text() | st.lists(st.dictionaries(st.just("message"), st.text())),
)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"changeId": "c", "status": "applied"}, Verdict.ACCEPTED),
        (202, {"changeId": "c", "status": "pending"}, Verdict.ACCEPTED),
        (502, {"changeId": "c", "status": "parked", "code": "user.unknown"}, Verdict.ACCEPTED),
        (502, {"changeId": "c", "status": "refused", "code": "password.reused"}, Verdict.REFUSED),
        (409, {"changeId": "c", "status": "superseded"}, Verdict.OLDER),
        (409, {"code": "change.stale"}, Verdict.OLDER),
        (409, {"code": "idempotency.key.reused"}, Verdict.OLDER),
        (400, {"code": "policy"}, Verdict.REFUSED),
        (413, {"code": "body.too.large"}, Verdict.REFUSED),
        (403, {"code": "user.protected"}, Verdict.REFUSED),
        (403, {"code": "role.forbidden"}, Wait.ALL),
        (401, {"code": "access.key.refused"}, Wait.ALL),
        (404, {"code": "path.unknown"}, Wait.ALL),
        (421, {"code": "https.required"}, Wait.ALL),
        (400, {"code": "host.invalid"}, Wait.ALL),
        (408, {"code": "body.too.slow"}, Wait.ALL),
        (429, {"code": "source.too.fast"}, Wait.ALL),
        (503, {"code": "shutting.down"}, Wait.ALL),
        (502, {}, Wait.ALL),
        (400, {}, Wait.ALL),
        (302, {}, Wait.ALL),
        (500, {}, Wait.ALL),
        (409, {}, Wait.ALL),
        (409, {"code": "conflict"}, Wait.THIS),
        (500, {"code": "internal.error"}, Wait.THIS),
        (403, {"code": "org.forbidden"}, Wait.THIS),
        (400, {"code": "user.invalid"}, Wait.THIS),
        (400, {"code": "member.unknown"}, Wait.THIS),
        (400, {"code": "changed.at.future"}, Wait.THIS),
        (400, {"code": "sealed.key.unknown"}, Wait.THIS),
        (400, {"code": "sealed.broken"}, Wait.NEVER),
    ],
)
def test_an_answer_is_settled_or_waits(status: int, body: dict[str, Any], expected: Verdict | Wait) -> None:
    """Committed, refused for good, or kept for later: a password is given up only when it must be."""
    found = of_change(status, body)
    assert (found.verdict if isinstance(found, Answer) else found) is expected


@pytest.mark.parametrize("code", [code for code, status in NOT_ACCEPTED.items() if status in (429, 503)])
def test_what_the_gateway_calls_passing_waits(code: str) -> None:
    """Every reason that the gateway itself names as passing leaves the password wanted."""
    assert of_change(NOT_ACCEPTED[code], {"code": code, "success": False}) is Wait.ALL


@given(st.integers(100, 599), MEMBERS)
def test_any_answer_means_something(status: int, body: dict[str, Any]) -> None:
    """Invariant of this fuzz: whatever is answered, nothing is raised, and users see one printable line."""
    found = of_change(status, body)
    for answer in (found, of_check(status, body)):
        if isinstance(answer, Answer):
            assert answer.message.isprintable()
            assert 0 < len(answer.message) <= MOST_SHOWN


def test_a_refusal_names_every_reason() -> None:
    """The user of a portal sees what is wrong with the password, on one line."""
    errors = [{"code": "a", "message": "at least 8 characters"}, {"code": "b", "message": "a\ndigit."}]
    body = {
        "success": False,
        "code": "policy",
        "message": "The password breaks the policy.",
        "errors": errors,
    }
    found = of_check(400, body)
    assert found is not None
    assert found.message == "The password breaks the policy. at least 8 characters. a digit."


def test_what_is_larger_than_any_request_is_refused_by_a_check_too() -> None:
    """A check that let it through would let the local password change, and the push be refused for good."""
    found = of_check(413, {"success": False, "code": "body.too.large", "message": "the body is larger"})
    assert found == Answer(Verdict.REFUSED, "The new password is too long.", "413 body.too.large")
    assert of_check(413, {}) is None  # a proxy's


@pytest.mark.parametrize(
    ("status", "body"), [(401, {}), (200, {}), (400, {"code": "user.invalid"}), (503, {}), (404, {})]
)
def test_an_answer_without_a_verdict_is_none(status: int, body: dict[str, Any]) -> None:
    """Only the policy itself refuses; everything else is as if the gateway were away."""
    assert of_check(status, body) is None
