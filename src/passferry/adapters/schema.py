"""The tables. One dialect-neutral definition; the version says which programs may use it."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    and_,
    text,
)

VERSION = 5
"""Of the tables below; each has its revision in ``migrations``. A database of a higher version is refused."""

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)
"""``version`` of the schema, ``ring``: which key ring this database belongs to, ``sealing_key``: the
newest key that a rotation made, ``retired:ID``: a key under which nothing is stored any more."""

orgs = Table(
    "orgs",
    metadata,
    Column("name", Text, primary_key=True),
    Column("epoch", BigInteger, nullable=False, default=0),
    Column("owner", Text),
    Column("paused", Text),
    Column("blocked_until", Double, nullable=False, default=0.0),
    Column("head_seq", BigInteger, nullable=False, default=0),
    Column("head_mac", LargeBinary, nullable=False),
)
"""One row an org, locked first by whatever writes to the org. Its audit head gives every accept its place in
the org's order. ``owner`` is the worker that delivers, ``epoch`` counts how often that changed."""

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("started_at", Double, nullable=False),
    Column("seen_at", Double, nullable=False),
)
"""One row a running process that delivers, where there may be several; gone from it when it was not seen."""

users = Table(
    "users",
    metadata,
    Column("org", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("newest_seq", BigInteger, nullable=False),
    Column("newest_at", Double, nullable=False),
    Column("newest_source", Text, nullable=False),
    Column("resolved_id", Text),
    Column("newest_accepted_at", Double),
    Index("users_resolved", "org", "resolved_id"),
)
"""One row a reference, for good: the order of its accepts outlives its changes."""

accounts = Table(
    "accounts",
    metadata,
    Column("org", Text, primary_key=True),
    Column("resolved_id", Text, primary_key=True),
    Column("newest_seq", BigInteger, nullable=False, default=0),
    Column("intent_change", Text),
    Column("intent_at", Double),
    Column("delivered_change", Text),
    Column("delivered_version", Text),
    Column("verifier", LargeBinary),
    Column("verifier_key", Text),
    Column("begun_seq", BigInteger),
    Column("begun_at", Double),
    Column("begun_source", Text),
    Column("begun_accepted_at", Double),
)
"""One row a resolved user: the send that may still be executed, and what was last delivered. ``newest_seq``
is the place of the newest change that was sent, or found to be set; ``begun_*`` tell of it, as long as
``begun_seq`` is that."""

changes = Table(
    "changes",
    metadata,
    Column("id", Text, primary_key=True),
    Column("org", Text, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("user_kind", Text, nullable=False),
    Column("user_value", Text, nullable=False),
    Column("user_key", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("live", Boolean, nullable=False),
    Column("bulk", Boolean, nullable=False, default=False),
    Column("accepted_at", Double, nullable=False),
    Column("waiting_since", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("next_attempt_at", Double),
    Column("attempts", Integer, nullable=False, default=0),
    Column("evidence", Text),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("correlation_id", Text),
    Column("resolved_id", Text),
    Column("superseded_by", Text),
    Column("sealed", LargeBinary),
    Column("sealed_key", Text),
    Column("doubt_at", Double),
    Column("doubt_version", Text),
    Column("doubt_attempt", Integer),
    Index("changes_user", "org", "user_key", "seq"),
    Index("changes_resolved", "org", "resolved_id"),
    Index("changes_accepted", "accepted_at", "id"),
    Index(
        "changes_live",
        "org",
        "bulk",
        "waiting_since",
        sqlite_where=text("live = 1"),
        postgresql_where=text("live"),
    ),
    Index(
        "changes_due",
        "org",
        "next_attempt_at",
        sqlite_where=text("live = 1"),
        postgresql_where=text("live"),
    ),
    Index(
        "changes_expiring",
        "org",
        "expires_at",
        sqlite_where=text("live = 1"),
        postgresql_where=text("live"),
    ),
)

LIVE = and_(changes.c.live, changes.c.expires_at > 0.0)
"""Live changes, for statements with no other bound than an org. That they expire is true of all: without it
SQLite takes whichever index of orgs was made first, be it one of all history."""

idempotency = Table(
    "idempotency",
    metadata,
    Column("org", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("body_mac", LargeBinary, nullable=False),
    Column("change_id", Text, nullable=False),
    Column("created_at", Double, nullable=False),
    Index("idempotency_created", "created_at"),
)

ABOUT_THE_TRAIL = text("kind IN ('audit.exported', 'audit.pruned')")
"""Of a partial index: SQLite uses it only for a statement that has this very condition."""

audit = Table(
    "audit",
    metadata,
    Column("org", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("change_id", Text),
    Column("user", Text),
    Column("state", Text),
    Column("code", Text),
    Column("evidence", Text),
    Column("attempt", Integer),
    Column("version", Text),
    Column("correlation_id", Text),
    Column("other", Text),
    Column("mac", LargeBinary, nullable=False),
    Index(
        "audit_about_the_trail",
        "org",
        "kind",
        "seq",
        sqlite_where=ABOUT_THE_TRAIL,
        postgresql_where=ABOUT_THE_TRAIL,
    ),
)

access = Table(
    "access",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("orgs", Text, nullable=False),
    Column("user_template", Text),
    Column("secret_sha256", LargeBinary, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
)

sources = Table(
    "sources",
    metadata,
    Column("name", Text, primary_key=True),
    Column("stopped_at", Double),
    Column("recent", Text, nullable=False),
)
"""One row a source that may send so many changes an hour and no more, locked after the orgs and by name: how
many it sent (JSON, steps of time to changes), and since when it is stopped."""
