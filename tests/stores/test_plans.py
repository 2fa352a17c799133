"""How databases answer what is asked again and again: by an index, whatever there is in the tables."""

from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from passferry.domain.audit import EXPORTED
from passferry.domain.change import State
from passferry.store_ports import TrailMoved
from statements import heard
from store_bench import NOW, UUID, Bench, open_bench, run

Ask = Callable[[Bench], Awaitable[Any]]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Stores on a file."""
    with open_bench("sqlite-file", tmp_path) as found:
        yield found


def plans(bench: Bench, ask: Ask) -> list[str]:
    """How each statement that ``ask`` makes is answered, a line for each table; their scans, too."""
    database: Any = bench.audit._database

    async def body() -> None:
        await ask(bench)

    with heard(database._engine, database._reader) as found:
        run(body)
    lines: list[str] = []
    with database._engine.connect() as connection:
        raw = connection.connection.driver_connection
        for text, values in found:
            if text.startswith(("SELECT", "DELETE", "UPDATE")):
                lines += [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {text}", values)]
    return lines


async def _prune(bench: Bench) -> None:
    from passferry.domain.audit import START

    with pytest.raises(TrailMoved):
        await bench.audit.prune("default", START, [bytes(32)], "me", NOW)


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda b: b.delivery.expire("default", NOW), "changes_expiring (org=? AND expires_at<?)"),
        (lambda b: b.delivery.hold("default", NOW), "changes_due (org=? AND next_attempt_at>?)"),
        (lambda b: b.delivery.due("default", NOW, 9, []), "changes_due (org=? AND next_attempt_at>?)"),
        (
            lambda b: b.delivery.due_count("default", NOW, 9, [], bulk=False),
            "changes_due (org=? AND next_attempt_at<?)",
        ),
        (lambda b: b.delivery.due_of("default", NOW, ["i:a", "n:b"]), "changes_user (org=? AND user_key=?)"),
        (lambda b: b.accepts.backlog("default", 9), "changes_expiring (org=? AND expires_at>?)"),
        (lambda b: b.delivery.recover("default", NOW, 9.0), "changes_expiring (org=? AND expires_at>?)"),
        (lambda b: b.delivery.due("default", NOW, 9, []), "changes_due (org=? AND next_attempt_at<?)"),
        (lambda b: b.lookup.changes(user=UUID), "changes_user (org=? AND user_key=?)"),
        (lambda b: b.lookup.changes(user=UUID), "changes_resolved (org=? AND resolved_id=?)"),
        (lambda b: b.lookup.changes(user=UUID, org="default"), "changes_user (org=? AND user_key=?)"),
        (lambda b: b.lookup.changes(user=UUID, since=NOW), "changes_resolved (org=? AND resolved_id=?)"),
        (
            lambda b: b.lookup.changes(user="a@b"),
            "other USING INDEX users_resolved (org=? AND resolved_id=?)",
        ),
        (
            lambda b: b.lookup.changes(user="a@b"),
            "name USING INDEX sqlite_autoindex_users_1 (org=? AND key=?)",
        ),
        (lambda b: b.lookup.changes(since=NOW), "changes_accepted (accepted_at>?"),
        (lambda b: b.lookup.changes(states=[State.PARKED]), "changes_expiring (org=? AND expires_at>?)"),
        (
            lambda b: b.lookup.changes(states=[State.PARKED], org="default"),
            "changes_expiring (org=? AND expires_at>?)",
        ),
        (lambda b: b.keep.prune_changes(NOW, 500), "changes_accepted (accepted_at<?)"),
        (lambda b: b.keep.prune_idempotency(NOW, 500), "idempotency_created (created_at<?)"),
        (lambda b: b.delivery.requests_since("default", NOW), "sqlite_autoindex_audit_1 (org=? AND seq>?)"),
        (lambda b: b.audit.links("default", 7, 500), "sqlite_autoindex_audit_1 (org=? AND seq>?)"),
        (
            lambda b: b.audit.newest("default", EXPORTED, 9),
            "audit_about_the_trail (org=? AND kind=? AND seq<?)",
        ),
        (_prune, "sqlite_autoindex_audit_1 (org=? AND seq<?)"),
    ],
)
def test_no_question_reads_a_whole_table(bench: Bench, ask: Ask, index: str) -> None:
    """Neither with a thousand changes nor with a million; the index is the one meant for it."""
    found = plans(bench, ask)
    assert [
        line
        for line in found
        if line.startswith("SCAN ") and line.split()[1] in ("changes", "audit", "name", "other")
    ] == []
    assert any(index in line for line in found), found


def test_changes_of_a_name_are_found_without_a_look_at_all_of_an_org(bench: Bench) -> None:
    """Those by its account's other references, too."""
    found = plans(bench, lambda b: b.lookup.changes(user="a@b", org="default"))
    assert [line for line in found if line.endswith("(org=?)")] == []


def test_other_changes_of_a_user_are_found_without_a_look_at_all_that_wait(bench: Bench) -> None:
    """Which are many, and unresolved, after a burst."""
    change = run(bench.accepted)
    found = plans(bench, lambda b: b.delivery.resolve(change.id, UUID, NOW))
    assert any("changes_user (org=? AND user_key=?)" in line for line in found), found


def test_the_first_of_many_due_changes_are_found_in_their_order(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a sort of all of them."""
    monkeypatch.setattr("passferry.adapters.store_deliver.FEW", 0)
    found = plans(bench, lambda b: b.delivery.due("default", NOW, 9, []))
    assert "SEARCH changes USING INDEX changes_live (org=?)" in found
    assert [line for line in found if "TEMP B-TREE" in line] == []


def test_reading_the_trail_and_counting_hold_up_no_accept(bench: Bench) -> None:
    """They go beside the transactions: while one is under way they are answered."""

    async def body() -> None:
        await bench.accepted()
        database: Any = bench.audit._database
        with database._engine.connect() as connection:
            connection.begin()  # the one connection that writes is taken
            assert await bench.accepts.backlog("default", 10) == 1
            assert len(await bench.audit.links("default", 0, 10)) == 1
            assert (await bench.audit.heads())["default"].seq == 1
            assert await bench.audit.newest("default", EXPORTED, 10) is None
            assert len(await bench.lookup.changes()) == 1

    run(body)


MANY_ENDED = """
INSERT INTO changes (id, org, seq, user_kind, user_value, user_key, source, state, live, bulk, accepted_at,
waiting_since, updated_at, expires_at, attempts)
SELECT 'e' || n, 'default', 10 + n, 'id', 'e' || n, 'i:e' || n, 'hr', 'applied', false, false, n, n, n, n, 1
FROM generate_series(1, 20000) AS n
"""


def test_what_waits_is_found_among_much_that_ended_on_postgresql(tmp_path: Path) -> None:
    """By one of the partial indexes, whether its org is named or not."""
    with open_bench("postgres", tmp_path) as bench:
        run(bench.accepted)
        with bench.database.engine.begin() as connection:
            connection.execute(text(MANY_ENDED))
            connection.execute(text("ANALYZE"))
        for org in (None, "default"):
            with heard(bench.database.engine) as told:
                assert len(run(partial(bench.lookup.changes, states=[State.PENDING], org=org))) == 1
            statement, values = told[0]
            with bench.database.engine.connect() as connection:
                plan = connection.exec_driver_sql(f"EXPLAIN {statement}", values).scalars().all()
            found = "\n".join(plan)
            assert "Seq Scan on changes" not in found
            assert any(name in found for name in ("changes_live", "changes_due", "changes_expiring")), found
