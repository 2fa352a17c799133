"""The use case prune: the oldest records are deleted, if a verified export holds them.

The chain that is left still verifies: see ``verify``. What is deleted is compared with the files first, one
record after another, so that nobody can make away with a record by altering it and having it pruned.
"""

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from passferry.domain.audit import Head, Link
from passferry.domain.audit_file import Files
from passferry.ports import Clock
from passferry.store_ports import AuditStore
from passferry.trail.export import TrailBroken
from passferry.trail.verify import check_chain, file_lines

LEAST_DAYS = 61
"""A change waits 30 days at most and is kept 30 days after its end: its records stay as long as itself."""
BATCH = 500
PAUSE = 0.05
"""Seconds between two batches, in which accepts get at the database."""


@dataclass(slots=True)
class Pruned:
    """What came of it for one org; the records behind ``base`` are left."""

    org: str
    base: Head
    records: int = 0
    batch: list[bytes] = field(default_factory=list, repr=False)  # MACs of those that go next
    ended: bool = False  # a record is too young: all behind it stay

    def wants(self, link: Link, before: float) -> bool:
        """Put ``link`` on the batch if it is the next, and older than ``before`` (epoch seconds)."""
        if self.ended or link.seq != self.base.seq + len(self.batch) + 1:
            return False
        self.ended = link.record.at > before
        if not self.ended:
            self.batch.append(link.mac)
        return not self.ended

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "org": self.org,
            "pruned": self.records,
            "base": str(self.base) if self.base.seq else None,
        }


class NotExported(Exception):
    """The files do not hold the oldest records that are stored; the text says which are missing."""


async def prune(
    store: AuditStore,
    key: bytes,
    files: Callable[[], Iterable[Iterable[str]]],
    orgs: Iterable[str],
    days: int,
    actor: str,
    clock: Clock,
    told: Callable[[int], None] = lambda records: None,
) -> list[Pruned]:
    """Delete the records of ``orgs`` that are older than ``days`` and in ``files``; others stay.

    Every file and every chain is verified whole before anything is deleted. That is done in small batches,
    each a transaction that says so in the trail: cut short anywhere, it goes on when it is run again.

    Args:
        store: where the records are.
        key: of the chains' MACs.
        files: opens the exports, in the order in which they were made; called twice.
        orgs: whose trails.
        days: age that records reach before they go, at least ``LEAST_DAYS``.
        actor: who does it, for the audit trail.
        clock: tells how old a record is.
        told: called with the number of records of each batch that was deleted.

    Raises:
        BrokenFile: a file is not what an export wrote.
        TrailBroken: a chain does not hold.
        NotExported: there is a gap between the oldest record and the first in the files.
        TrailMoved: somebody else deletes at the same time, or the stored records are not those in the files.
    """
    jobs = await _jobs(store, key, files(), orgs)
    before = clock.now() - max(days, LEAST_DAYS) * 86400.0
    for line in file_lines(files(), Files(key)):
        job = jobs.get(line.org)
        if job is not None and job.wants(line.link, before) and len(job.batch) == BATCH:
            told(await _delete(store, job, actor, clock))
            await asyncio.sleep(PAUSE)
    for job in jobs.values():
        told(await _delete(store, job, actor, clock))
    return list(jobs.values())


async def _jobs(
    store: AuditStore, key: bytes, files: Iterable[Iterable[str]], orgs: Iterable[str]
) -> dict[str, Pruned]:
    """Each org of which the files hold something, once all was verified and found to join."""
    checked = Files(key)
    for _ in file_lines(files, checked):
        pass
    jobs = {org: Pruned(org, await _base(store, key, org)) for org in orgs if org in checked.starts}
    for org, job in jobs.items():
        first, oldest = checked.starts[org].seq + 1, job.base.seq + 1
        if first > oldest:
            raise NotExported(f"org {org}: the files begin at record {first}, the trail at {oldest}")
    return jobs


async def _base(store: AuditStore, key: bytes, org: str) -> Head:
    found = await check_chain(store, key, org)
    if found.broken is not None:
        raise TrailBroken(org, found.broken)
    return found.base


async def _delete(store: AuditStore, job: Pruned, actor: str, clock: Clock) -> int:
    deleted = len(job.batch)
    if deleted:
        job.base = await store.prune(job.org, job.base, job.batch, actor, clock.now())
        job.records += deleted
        job.batch = []
    return deleted
