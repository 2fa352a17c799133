"""The use case export: the audit trail as lines, each org's from where its last export ended."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from passferry.domain.audit import EXPORTED, PRUNED, START, Fold, Head, Link
from passferry.domain.audit_file import Line, to_text
from passferry.ports import Clock
from passferry.store_ports import AuditStore
from passferry.trail.verify import PAGE


@dataclass(frozen=True, slots=True)
class Exported:
    """The records of ``org`` behind ``after`` and up to ``head``.

    ``joins``: no record is left out between the last export in the trail and this one.
    """

    org: str
    after: Head
    head: Head
    joins: bool = True

    @property
    def records(self) -> int:
        """How many."""
        return self.head.seq - self.after.seq

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "org": self.org,
            "after": self.after.seq,
            "records": self.records,
            "head": str(self.head) if self.head.seq else None,
        }


class TrailBroken(Exception):
    """The chain of ``org`` does not hold, and nothing of it is exported or deleted."""

    def __init__(self, org: str, what: str) -> None:
        super().__init__(f"org {org}: {what}")


class NoSuchRecord(Exception):
    """An export cannot begin there; the text says why."""


async def export(
    store: AuditStore, key: bytes, org: str, after: int | None, write: Callable[[str], object]
) -> Exported:
    """Hand ``write`` the lines of ``org``, each with its end, after its link was checked.

    Reading is by pages, each a short read of its own: a running gateway goes on. What is added meanwhile is
    for the next export.

    Args:
        store: where the records are.
        key: of the chain's MACs.
        org: whose trail.
        after: begin behind this record; None: where the last export that is in the trail ended.
        write: takes text.

    Raises:
        TrailBroken: a link does not fit.
        NoSuchRecord: there is no record ``after``.
    """
    head = (await store.heads()).get(org, START)
    try:
        ended = await _where_it_ended(store, org, head)
        start = ended if after is None else await _behind(store, org, head, after)
        fold = Fold(key, org, start, {head.seq: head.mac})
        while fold.last.seq < head.seq:
            page = await store.links(org, fold.last.seq, min(PAGE, head.seq - fold.last.seq))
            _write(page, org, fold, write)
    except (TypeError, ValueError):
        broken = "there is something that is no record"
    else:
        return Exported(org, start, head, start.seq <= ended.seq)
    raise TrailBroken(org, broken)


def _write(page: list[Link], org: str, fold: Fold, write: Callable[[str], object]) -> None:
    if not page:
        raise TrailBroken(org, f"it ends at record {fold.last.seq}")
    for found in page:
        previous = fold.last.mac
        wrong = fold.take(found)
        if wrong is not None:
            raise TrailBroken(org, wrong)
        write(to_text(Line(org, previous, found)) + "\n")


async def _where_it_ended(store: AuditStore, org: str, head: Head) -> Head:
    """Where the next export begins. The record that says so lies behind that, and is checked, too."""
    starts = [START]
    for kind in (EXPORTED, PRUNED):
        found = await store.newest(org, kind, head.seq)
        if found is not None:
            said = Head.parse(found.record.other)
            if said is None or said.seq >= found.seq:
                raise TrailBroken(org, f"record {found.seq} does not say what it should")
            starts.append(said)
    return max(starts, key=lambda start: start.seq)


async def _behind(store: AuditStore, org: str, head: Head, after: int) -> Head:
    pruned = await store.newest(org, PRUNED, head.seq)
    base = Head.parse(pruned.record.other) if pruned is not None else START
    if base is not None and after == base.seq:
        return base
    found = await store.links(org, after - 1, 1) if 0 < after <= head.seq else []
    if not found or found[0].seq != after:
        oldest = base.seq if base is not None else 0
        raise NoSuchRecord(f"org {org} has the records {oldest + 1} to {head.seq}")
    return Head(after, found[0].mac)


async def note(store: AuditStore, exported: Exported, actor: str, clock: Clock) -> None:
    """Write down, once the file is durable, that it holds these records: the next export begins there."""
    if exported.records and exported.joins:
        await store.note_exported(exported.org, exported.head, actor, clock.now())
