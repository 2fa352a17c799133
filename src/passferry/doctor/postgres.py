"""What is in a PostgreSQL database that processes share, and how its server is set. Nothing is made."""

import time

from passferry.adapters import keyring, schema
from passferry.adapters.database_look import CannotLook
from passferry.adapters.postgres_look import Server, look
from passferry.adapters.sealing import RingSealer
from passferry.config import Settings
from passferry.doctor.contents import contents
from passferry.doctor.ring import key_file
from passferry.domain.diagnosis import Finding, fail, ok, warn
from passferry.leases import LEASE

OLDEST = 15
CLOCK_WARN = 5.0
"""Seconds between the database's clock and this machine's."""


def look_at_postgres(url: str, settings: Settings) -> list[Finding]:
    """See the module."""
    ring, found = key_file(settings.key_file, [], _no_ring)
    try:
        before = time.time()
        server = look(url, LEASE)
    except CannotLook as error:
        return [found, fail("database", "PASSFERRY_DATABASE_URL: the database cannot be read", str(error))]
    ahead = server.now - (before + time.time()) / 2
    return [found, *_server(server, ahead), *_contents(server, ring, settings)]


def _no_ring(what: str) -> Finding:
    return fail("key file", what, "`passferry keys create` makes it, once; copy it to every machine")


def _server(server: Server, ahead: float) -> list[Finding]:
    findings = []
    if server.release < OLDEST:
        why = f"the server is PostgreSQL {server.release}"
        findings.append(fail("database server", why, f"use PostgreSQL {OLDEST} or later"))
    if not server.fsync:
        why = "fsync is off: when its machine stops, accepted passwords are lost"
        findings.append(warn("database server", why, "set fsync = on in postgresql.conf"))
    if server.pooled:
        why = "a pooler stands before the database: who waits may be answered a second late"
        hint = "connect to the server itself, or let the pooler keep sessions"
        findings.append(warn("database server", why, hint))
    if abs(ahead) > CLOCK_WARN:
        side = "ahead of" if ahead > 0 else "behind"
        why = f"the database's clock is {abs(ahead):.0f} s {side} this machine's"
        findings.append(warn("database server", why, "set both by NTP; passferry goes by the database's"))
    return findings or [ok("database server", f"PostgreSQL {server.release}, reached; clocks agree")]


def _contents(server: Server, ring: keyring.KeyRing | None, settings: Settings) -> list[Finding]:
    if server.look.version == 0:
        return [ok("database", "no tables yet: `serve` makes them")]
    sealer = RingSealer(ring) if ring is not None else None
    findings = contents(server.look, sealer, "PostgreSQL", settings)
    if server.look.version > schema.VERSION:
        return findings
    if server.alive:
        return [*findings, ok("workers", f"alive: {', '.join(server.alive)}")]
    if server.look.live:
        why = f"no worker is alive, and changes wait: {server.look.live}"
        return [*findings, warn("workers", why, "start `passferry serve` or `passferry worker`")]
    return [*findings, ok("workers", "none is alive, and nothing waits")]
