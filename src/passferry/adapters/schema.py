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
    String,
    Table,
    Text,
    text,
)

VERSION = 1
"""Of the tables below. A database of a higher version is refused."""

metadata = MetaData()

meta = Table(
    "meta",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("value", Text, nullable=False),
)
"""``version`` of the schema, ``ring``: which key ring this database belongs to, ``sealing_key``: the
newest key that a rotation made, ``retired:ID``: a key under which nothing is stored any more."""

orgs = Table(
    "orgs",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("epoch", BigInteger, nullable=False, default=0),
    Column("paused", String(64)),
    Column("blocked_until", Double, nullable=False, default=0.0),
    Column("head_seq", BigInteger, nullable=False, default=0),
    Column("head_mac", LargeBinary, nullable=False),
)
"""One row an org. Its audit head gives every accept its place in the org's order; locked last."""

users = Table(
    "users",
    metadata,
    Column("org", String(64), primary_key=True),
    Column("key", String(400), primary_key=True),
    Column("newest_seq", BigInteger, nullable=False),
    Column("newest_at", Double, nullable=False),
    Column("newest_source", String(64), nullable=False),
    Column("resolved_id", String(400)),
    Index("users_resolved", "org", "resolved_id"),
)
"""One row a reference, for good: the order of its accepts outlives its changes."""

accounts = Table(
    "accounts",
    metadata,
    Column("org", String(64), primary_key=True),
    Column("resolved_id", String(400), primary_key=True),
    Column("newest_seq", BigInteger, nullable=False, default=0),
    Column("intent_change", String(40)),
    Column("intent_at", Double),
    Column("delivered_change", String(40)),
    Column("delivered_version", String(200)),
    Column("verifier", LargeBinary),
    Column("verifier_key", String(16)),
)
"""One row a resolved user: the send that may still be executed, and what was last delivered."""

changes = Table(
    "changes",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("org", String(64), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("user_kind", String(8), nullable=False),
    Column("user_value", String(400), nullable=False),
    Column("user_key", String(400), nullable=False),
    Column("source", String(64), nullable=False),
    Column("state", String(12), nullable=False),
    Column("live", Boolean, nullable=False),
    Column("bulk", Boolean, nullable=False, default=False),
    Column("accepted_at", Double, nullable=False),
    Column("waiting_since", Double, nullable=False),
    Column("updated_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("next_attempt_at", Double),
    Column("attempts", Integer, nullable=False, default=0),
    Column("evidence", String(10)),
    Column("error_code", String(64)),
    Column("error_message", Text),
    Column("correlation_id", String(64)),
    Column("resolved_id", String(400)),
    Column("superseded_by", String(40)),
    Column("sealed", LargeBinary),
    Column("sealed_key", String(16)),
    Column("doubt_at", Double),
    Column("doubt_version", String(200)),
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
)

idempotency = Table(
    "idempotency",
    metadata,
    Column("org", String(64), primary_key=True),
    Column("key", String(255), primary_key=True),
    Column("source", String(64), primary_key=True),
    Column("body_mac", LargeBinary, nullable=False),
    Column("change_id", String(40), nullable=False),
    Column("created_at", Double, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("org", String(64), primary_key=True),
    Column("seq", BigInteger, primary_key=True),
    Column("kind", String(20), nullable=False),
    Column("at", Double, nullable=False),
    Column("actor", String(80), nullable=False),
    Column("change_id", String(40)),
    Column("user", String(400)),
    Column("state", String(12)),
    Column("code", String(64)),
    Column("evidence", String(10)),
    Column("attempt", Integer),
    Column("version", String(200)),
    Column("correlation_id", String(64)),
    Column("other", String(80)),
    Column("mac", LargeBinary, nullable=False),
)

ABOUT_THE_TRAIL = text("kind IN ('audit.exported', 'audit.pruned')")
"""Of a partial index: SQLite uses it only for a statement that has this very condition."""

access = Table(
    "access",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("role", String(12), nullable=False),
    Column("orgs", Text, nullable=False),
    Column("user_template", String(200)),
    Column("secret_sha256", LargeBinary, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("revoked_at", Double),
)

ADDED_INDEXES = (
    Index("idempotency_created", idempotency.c.created_at),
    Index(
        "audit_about_the_trail",
        audit.c.org,
        audit.c.kind,
        audit.c.seq,
        sqlite_where=ABOUT_THE_TRAIL,
        postgresql_where=ABOUT_THE_TRAIL,
    ),
    Index(
        "changes_expiring",
        changes.c.org,
        changes.c.expires_at,
        sqlite_where=text("live = 1"),
        postgresql_where=text("live"),
    ),
)
"""Made in databases that are older than they: they change nothing for the programs that made those."""
