"""Where the gateways of a long test keep their state: a SQLite file each, or a PostgreSQL database each."""

import itertools
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from .harness import Home, genesys, home

SQLITE, POSTGRESQL = "sqlite", "postgresql"
CHOICES = (
    f"{SQLITE}; {POSTGRESQL}, one that is started; or the URL of a server on which databases may be made"
)


class Ground:
    """Prepared state, of which every ``place`` gets a copy of its own: ring, database, keys of callers."""

    def __init__(self, root: Path, database: str = SQLITE) -> None:
        """``database`` is one of ``CHOICES``."""
        self.server: Any = None if database == SQLITE else _server(database)
        self._counter = itertools.count(1)
        self._prefix = f"passferry_ground_{os.getpid()}_{id(self)}"
        self._root = root / "ground"
        root.mkdir(parents=True, exist_ok=True)
        with home(self._root, genesys("http://127.0.0.1:9")) as place:
            if self.server is not None:  # beside which no ring is ever made
                place.key()
                shutil.rmtree(place.state)
                place.more = {"PASSFERRY_DATABASE_URL": self._make(self._prefix)}
            self.source = place.key("tester")
            self.operator = place.key("operator", "--role", "operator")

    @contextmanager
    def place(self, root: Path, target: Mapping[str, str], **more: str) -> Iterator[Home]:
        """A gateway's place at ``root``; whatever was started ends with the block."""
        shutil.copytree(self._root, root)
        name = f"{self._prefix}_{next(self._counter)}"
        if self.server is not None:
            more |= {"PASSFERRY_DATABASE_URL": self._make(name, self._prefix)}
        with home(root, target, **more) as place:
            yield place
        if self.server is not None:
            self._drop(name)

    def close(self) -> None:
        """Delete what does not lie below its root."""
        if self.server is not None:
            self._drop(self._prefix)

    def _make(self, name: str, like: str = "template1") -> str:
        url = str(self.server.url(name))
        self.server.execute(f'CREATE DATABASE {name} OWNER "{urlsplit(url).username}" TEMPLATE {like}')
        return url

    def _drop(self, name: str) -> None:
        self.server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _server(database: str) -> Any:
    postgres = import_module("postgres")  # late: a run on SQLite needs no PostgreSQL
    if database != POSTGRESQL:
        os.environ["PASSFERRY_TEST_POSTGRES"] = database
        return postgres.server()
    return postgres.own_server()


def reader(place: Home) -> Engine:
    """The way to the database of ``place``, past the product."""
    url = place.more.get("PASSFERRY_DATABASE_URL", f"sqlite:///{place.state}/passferry.db")
    return create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a database says, read past the product."""

    changes: dict[str, dict[str, Any]]
    audit: list[dict[str, Any]]
    heads: dict[str, bytes]

    @classmethod
    def of(cls, place: Home) -> "Ledger":
        """Read the database of ``place``."""
        with reader(place).connect() as connection:
            changes = connection.execute(text("SELECT * FROM changes ORDER BY seq")).mappings()
            by_id = {row["id"]: dict(row) for row in changes}
            audit = connection.execute(text("SELECT * FROM audit ORDER BY org, seq")).mappings()
            heads = connection.execute(text("SELECT name, head_mac FROM orgs"))
            return cls(by_id, [dict(row) for row in audit], {row.name: row.head_mac for row in heads})

    def records(self, change_id: str, *kinds: str) -> list[dict[str, Any]]:
        """The audit records of a change."""
        return [row for row in self.audit if row["change_id"] == change_id and row["kind"] in kinds]
