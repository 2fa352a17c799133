"""For the full-disk test: on the import path of a gateway, it gives SQLite a disk that fills up.

While the file named by FULL_DISK exists, the database may not grow by a single page, which SQLite reports
just as it reports a full file system (SQLITE_FULL). Unlike mounting a small disk, it needs no privileges.
"""

import os
import sqlite3
import sqlite3.dbapi2
from typing import Any

_FLAG = os.environ.get("FULL_DISK", "")
_connect = sqlite3.connect


class _Connection(sqlite3.Connection):
    def cursor(self, *arguments: Any, **named: Any) -> Any:
        limit = 1 if os.path.exists(_FLAG) else 1_000_000_000  # noqa: PTH110  # 1: what there is already
        super().cursor().execute(f"PRAGMA max_page_count={limit}").fetchall()
        return super().cursor(*arguments, **named)


def _limited(*arguments: Any, **named: Any) -> sqlite3.Connection:
    connection: sqlite3.Connection = _connect(*arguments, **({"factory": _Connection} | named))
    return connection


if _FLAG:
    sqlite3.connect = sqlite3.dbapi2.connect = _limited  # type: ignore[assignment]
