"""What is said to a database, whoever says it: SQLAlchemy, or its driver for a prepared statement."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from sqlalchemy import Connection, Engine, event

from passferry.adapters.prepared import Prepared


@contextmanager
def heard(*engines: Engine) -> Iterator[list[tuple[str, Any]]]:
    """Every statement to ``engines`` inside the block, with its values."""
    found: list[tuple[str, Any]] = []
    execute = Prepared._execute

    def listen(connection: Connection, cursor: Any, sql: str, values: Any, *_: Any) -> None:
        found.append((sql, values))

    def prepared(connection: Connection, sql: str, parameters: Any, *, many: bool = False) -> Any:
        if connection.engine in engines:
            found.append((sql, parameters[0] if many else parameters))
        return execute(connection, sql, parameters, many=many)

    for engine in engines:
        event.listen(engine, "before_cursor_execute", listen)
    try:
        with patch.object(Prepared, "_execute", staticmethod(prepared)):
            yield found
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", listen)
