"""Filling a database without a gateway: changes to be delivered, or a history of ended ones."""

import asyncio
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from sqlalchemy import Connection, Table, Text, cast, insert, literal, select, update

from passferry.adapters import schema
from passferry.config import load_settings
from passferry.domain.accepting import NewChange, judge
from passferry.domain.change import Reference
from passferry.ports import Binding
from passferry.state import Stores, open_stores

CHANGES_OF_A_USER = 20
AUDIT_RECORDS = ("accepted", "attempt", "outcome")
"""Of one change."""


@contextmanager
def stores(environment: dict[str, str]) -> Iterator[Stores]:
    """The state that ``environment`` names, made if it is missing."""
    with patch.dict(os.environ, environment):
        settings = load_settings()
    opened = open_stores(settings, time.time(), create=True)
    try:
        yield opened
    finally:
        opened.database.close()


def waiting(opened: Stores, org: str, count: int) -> None:
    """Accept ``count`` changes of as many users of ``org``."""
    asyncio.run(opened.accept.accept([_change(opened, org) for _ in range(count)], judge))


def _change(opened: Stores, org: str) -> NewChange:
    change_id, user, now = uuid.uuid4().hex, str(uuid.uuid4()), time.time()
    sealed = opened.sealer.seal(
        b"N3w-Passw0rd!" + change_id.encode(), Binding("password", org, user, change_id)
    )
    return NewChange(change_id, org, Reference("id", user), "bench", sealed, now, now + 259_200)


def history(opened: Stores, org: str, count: int) -> None:
    """``count`` applied changes of the last thirty days, with their users, accounts and audit records.

    Links of the audit chain are no MACs: nothing here verifies them, and delivery never reads them.
    """
    with opened.database.engine.begin() as connection:
        _fill(connection, org, count)


def _fill(connection: Connection, org: str, count: int) -> None:
    number = select(literal(1).label("n")).cte("numbers", recursive=True)
    number = number.union_all(select(number.c.n + 1).where(number.c.n < count))
    n, now = number.c.n, time.time()
    user_number = n % max(1, count // CHANGES_OF_A_USER)
    at = literal(now - 30 * 86400) + n * (29.5 * 86400 / count)
    change = literal("history-") + cast(n, Text)
    person = literal("past-") + cast(user_number, Text)

    def put(table: Table, only: Any = True, **columns: Any) -> None:
        made = {name: value if hasattr(value, "label") else literal(value) for name, value in columns.items()}
        rows = select(*(value.label(name) for name, value in made.items())).select_from(number).where(only)
        connection.execute(insert(table).from_select(list(made), rows))

    first = n <= max(1, count // CHANGES_OF_A_USER)
    put(
        schema.changes, id=change, org=org, seq=n * 3 - 2, user_kind="id", user_value=person,
        user_key=literal("i:") + person, source="bench", state="applied", live=False, bulk=False,
        accepted_at=at, waiting_since=at, updated_at=at, expires_at=at + 259_200, attempts=1,
        evidence="confirmed", resolved_id=person,
    )  # fmt: skip
    put(
        schema.users, first, org=org, key=literal("i:") + person, newest_seq=n, newest_at=at,
        newest_source="bench", resolved_id=person,
    )  # fmt: skip
    put(
        schema.accounts, first, org=org, resolved_id=person, newest_seq=n, delivered_change=change,
        delivered_version="1",
    )  # fmt: skip
    for place, kind in enumerate(AUDIT_RECORDS):
        put(
            schema.audit, org=org, seq=n * 3 - 2 + place, kind=kind, at=at, actor="delivery",
            change_id=change, user=person, state="applied", mac=bytes(32),
        )  # fmt: skip
    connection.execute(update(schema.orgs).where(schema.orgs.c.name == org).values(head_seq=3 * count))
