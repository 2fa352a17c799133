"""The life of a change, and the page of the docs that shows it."""

import itertools
import re
from dataclasses import replace
from pathlib import Path

import pytest

from passferry.domain.change import (
    LIVE,
    RETRYABLE,
    TRANSITIONS,
    Change,
    IllegalTransition,
    Reference,
    State,
    as_seen,
    check_transition,
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "life-cycle.md"

LEGAL = {
    "pending": "delivering parked applied refused superseded expired cancelled",
    "delivering": "pending parked applied refused superseded",
    "parked": "delivering pending refused superseded expired cancelled",
}


def _generated() -> str:
    """What stands between the page's markers: a diagram and the table, both from ``TRANSITIONS``."""
    steps = [(old, new, why) for old, after in TRANSITIONS.items() for new, why in after.items()]
    ends = [state for state, after in TRANSITIONS.items() if not after]
    diagram = [
        "```mermaid",
        "stateDiagram-v2",
        "    [*] --> pending",
        *(f"    {old} --> {new}" for old, new, _ in steps),
        *(f"    {end} --> [*]" for end in ends),
        "```",
    ]
    rows = [
        "| from | to | when |",
        "|---|---|---|",
        *(f"| {old} | {new} | {why} |" for old, new, why in steps),
    ]
    return "\n".join([*diagram, "", *rows])


@pytest.mark.parametrize(("old", "new"), list(itertools.product(State, State)))
def test_only_the_steps_of_the_contract_are_legal(old: State, new: State) -> None:
    """A step is taken without complaint if and only if the contract names it; staying is no step."""
    if old is new or new.value in LEGAL.get(old.value, "").split():
        check_transition(old, new)
        return
    with pytest.raises(IllegalTransition, match=f"{old.value} may not become {new.value}"):
        check_transition(old, new)


def test_live_changes_are_those_that_can_still_be_written() -> None:
    """From exactly the live states a change can (come to) be sent; every other state is an end."""
    assert {State.PENDING, State.DELIVERING, State.PARKED} == LIVE
    assert {state for state, after in TRANSITIONS.items() if after} == LIVE


def test_operators_act_on_waiting_changes_only() -> None:
    """Retry and cancel are for pending and parked; what is being sent cannot be cancelled any more."""
    assert {State.PENDING, State.PARKED} == RETRYABLE
    assert {old for old, after in TRANSITIONS.items() if State.CANCELLED in after} == RETRYABLE


def test_a_user_name_is_one_whatever_its_case_and_never_an_id() -> None:
    """References to one userName share a key across case; an id of the same text has another."""
    assert Reference("userName", "Jane@Example.com").key == Reference("userName", "jane@example.COM").key
    assert Reference("userName", "x").key != Reference("id", "x").key


def test_the_docs_show_the_table_of_the_code() -> None:
    """docs/life-cycle.md holds exactly the steps of the code, between its markers."""
    page = PAGE.read_text()
    found = re.search(r"<!-- transitions -->\n(.*)\n<!-- end of transitions -->", page, re.DOTALL)
    assert found is not None
    assert found[1] == _generated(), f"between the markers of {PAGE.name} must stand:\n{_generated()}"


def test_the_docs_explain_every_state() -> None:
    """Each state has its line on the page."""
    page = PAGE.read_text()
    assert [state for state in State if f"| `{state}` |" not in page] == []


def test_a_pause_explains_what_is_pending_and_nothing_else() -> None:
    """Who asks "did it arrive?" is told that the org is paused, and why."""
    pending = Change(
        "c", "o", 1, Reference("id", "u"), "s", State.PENDING, 0.0, 0.0, 9.0, next_attempt_at=1.0
    )
    seen = as_seen(pending, "missing.permissions")
    assert seen.error is not None
    assert (seen.error.code, seen.next_attempt_at) == ("org.paused", None)
    assert "missing.permissions" in seen.error.message
    assert as_seen(pending, None) is pending
    parked = replace(pending, state=State.PARKED)
    assert as_seen(parked, "operator") is parked
