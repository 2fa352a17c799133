"""Statements of every accept and every try: SQLAlchemy writes them, the driver runs them.

Run by SQLAlchemy, a statement costs several times what the database asks for it, and a delivered change needs
two dozen (decision 17). So these are compiled once for each kind of database. All others are run as usual.
"""

from collections import namedtuple
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Dialect, Executable
from sqlalchemy.exc import DBAPIError

Values = Mapping[str, Any]


@dataclass(slots=True)
class _Text:
    """A statement as one kind of database takes it."""

    sql: str
    order: Sequence[str] | None  # of its parameters, where they have no names
    constants: Values
    row: Callable[[Sequence[Any]], Any] | None = None

    def parameters(self, values: Values) -> Values | list[Any]:
        named = {**self.constants, **values}
        return named if self.order is None else [named[name] for name in self.order]


_EVERY: list["Prepared"] = []


def compile_all(dialect: Dialect) -> None:
    """Compile every statement for ``dialect``, before the first of many callers would wait for it."""
    for prepared in _EVERY:
        prepared.text(dialect)


class Prepared:
    """One statement. Its values are those of the driver: text, numbers, bytes, bool; none may be a list.

    Rows have the statement's columns as attributes. Errors are SQLAlchemy's.
    """

    def __init__(self, statement: Executable) -> None:
        """``statement`` names its parameters by ``bindparam``."""
        self._statement: Any = statement
        self._texts: dict[str, _Text] = {}
        _EVERY.append(self)

    def run(self, connection: Connection, values: Values) -> None:
        """Execute it, for no rows."""
        text = self.text(connection.dialect)
        self._execute(connection, text.sql, text.parameters(values))

    def run_many(self, connection: Connection, rows: Sequence[Values]) -> None:
        """Execute it for each of ``rows``."""
        text = self.text(connection.dialect)
        parameters = [text.parameters(values) for values in rows]
        if len(parameters) == 1:
            self._execute(connection, text.sql, parameters[0])
        elif parameters:
            self._execute(connection, text.sql, parameters, many=True)

    def rows(self, connection: Connection, values: Values) -> list[Any]:
        """All rows that it returns."""
        text = self.text(connection.dialect)
        names, rows = self._execute(connection, text.sql, text.parameters(values))
        if text.row is None:
            text.row = _row_type(names)._make
        return [text.row(row) for row in rows]

    def row(self, connection: Connection, values: Values) -> Any | None:
        """The one row that it returns, if there is one."""
        found = self.rows(connection, values)
        return found[0] if found else None

    def one(self, connection: Connection, values: Values) -> Any:
        """The one row that it returns for sure."""
        return self.rows(connection, values)[0]

    def text(self, dialect: Dialect) -> _Text:
        """It for ``dialect``, compiled the first time."""
        text = self._texts.get(dialect.name)
        if text is None:
            compiled = self._statement.compile(dialect=dialect)
            constants = {name: value for name, value in compiled.params.items() if value is not None}
            text = self._texts[dialect.name] = _Text(str(compiled), compiled.positiontup, constants)
        return text

    @staticmethod
    def _execute(
        connection: Connection, sql: str, parameters: Any, *, many: bool = False
    ) -> tuple[list[str], list[Any]]:
        """The names of the columns, and the rows; nothing where there are none."""
        raw: Any = connection.connection.driver_connection
        try:
            cursor = raw.cursor()
            (cursor.executemany if many else cursor.execute)(sql, parameters)
            if cursor.description is None:
                return [], []
            return [column[0] for column in cursor.description], cursor.fetchall()
        except connection.dialect.loaded_dbapi.Error as error:
            raise _told(connection, raw, sql, error) from None


def _row_type(names: list[str]) -> Any:
    return namedtuple("Row", names)  # known when the database answers


def _told(connection: Connection, raw: Any, sql: str, error: Exception) -> Exception:
    """``error`` as SQLAlchemy raises it; a connection that broke is used no more, nor those made with it."""
    dialect = connection.dialect
    broke = dialect.is_disconnect(error, raw, None)  # type: ignore[arg-type]  # the driver's own
    if broke:
        connection.invalidate(error)
        connection.engine.dispose()
    return DBAPIError.instance(
        sql,
        None,
        error,
        dialect.loaded_dbapi.Error,
        hide_parameters=True,
        connection_invalidated=broke,
        dialect=dialect,
    )
