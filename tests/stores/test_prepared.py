"""Statements that the driver runs itself, in SQLAlchemy's transaction."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from passferry.adapters.prepared import Prepared
from store_bench import Bench

FAILS = {
    "at once": "SELECT nonsense FROM nowhere",
    "after a row": "SELECT name, 1 AS n FROM orgs UNION ALL SELECT 'x', abs(-9223372036854775808)",
}


@pytest.mark.parametrize("when", FAILS)
def test_an_error_is_one_of_sqlalchemy_whenever_it_comes(bench: Bench, when: str) -> None:
    """What a full disk, a lost server or a defect is, is told from that."""
    with bench.database.engine.connect() as connection, connection.begin():
        with pytest.raises(DBAPIError) as caught:
            Prepared(text(FAILS[when])).rows(connection, {})
        assert caught.value.hide_parameters


def test_its_writes_are_part_of_the_transaction(bench: Bench) -> None:
    """They go with it when it is rolled back."""
    pause = Prepared(text("UPDATE orgs SET paused = 'x'"))
    paused = Prepared(text("SELECT count(*) AS many FROM orgs WHERE paused = 'x'"))
    with bench.database.engine.connect() as connection:
        with connection.begin() as transaction:
            pause.run(connection, {})
            assert paused.rows(connection, {})[0].many == 2
            transaction.rollback()
        with connection.begin():
            row = paused.row(connection, {})
            assert row is not None
            assert row.many == 0
