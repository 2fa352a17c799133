"""The use case verify: was a chain altered, or is it shorter than a head kept elsewhere says?

A chain begins at record 1, or behind the base that its newest record ``audit.pruned`` names. That record is a
link of the chain as any other: nobody without the audit key can make one, and whoever deletes the oldest
records by hand has none that vouches for where the chain begins now.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from passferry.domain.audit import PRUNED, START, Fold, Head, Link
from passferry.domain.audit_file import Files, Line, from_text
from passferry.store_ports import AuditStore

PAGE = 500


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one org's chain. ``broken`` says where and how; None when all is well.

    ``records`` lie between ``base`` and ``head``; older ones are not there.
    """

    org: str
    records: int
    head: Head | None
    broken: str | None = None
    base: Head = START

    def as_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "org": self.org,
            "records": self.records,
            "base": str(self.base) if self.base.seq else None,
            "head": str(self.head) if self.head else None,
            "ok": self.broken is None,
            "broken": self.broken,
        }


class HeadPruned(Exception):
    """The head kept elsewhere is older than the records that are left; the base is the argument."""


async def check_chain(store: AuditStore, key: bytes, org: str, kept: Head | None = None) -> Finding:
    """Fold the chain of ``org`` from its base to its last record.

    Records may be added meanwhile, by a running ``serve``: the stored head as it was before the reading must
    be among the records, and no record may lie beyond the head as it is after it. When the oldest were pruned
    meanwhile it begins anew.

    Args:
        store: where the records are.
        key: of the chain's MACs.
        org: whose chain.
        kept: a head kept elsewhere, which must be among the records too.

    Raises:
        HeadPruned: ``kept`` lies before the base, and only an export can tell about it.
    """
    try:
        while True:
            pruned = await _pruned(store, org)
            found = await _check_once(store, key, org, kept, pruned)
            if found.broken is None or await _pruned(store, org) == pruned:
                return found
    except (TypeError, ValueError):  # what cannot even be read as a record is a finding, too
        return Finding(org, 0, None, "there is something that is no record")


async def _pruned(store: AuditStore, org: str) -> Link | None:
    head = (await store.heads()).get(org, START)
    return await store.newest(org, PRUNED, head.seq)


async def _check_once(
    store: AuditStore, key: bytes, org: str, kept: Head | None, pruned: Link | None
) -> Finding:
    base = START if pruned is None else Head.parse(pruned.record.other)
    if pruned is not None and (base is None or base.seq >= pruned.seq):
        return Finding(org, 0, None, f"record {pruned.seq} does not say where the chain begins")
    assert base is not None  # noqa: S101
    before = (await store.heads()).get(org)
    wrong = _disagree(before, kept, base)
    if wrong is not None:
        return Finding(org, 0, before, wrong, base)
    wanted = {head.seq: head.mac for head in (before, kept) if head is not None}
    fold = Fold(key, org, base, wanted)  # what vouches for the base lies behind it, and is one of the links
    broken = await _follow(store, org, fold)
    after = (await store.heads()).get(org)
    missing = max(wanted, default=0)
    if broken is None and fold.last.seq < missing:
        broken = f"it ends at record {fold.last.seq}; records up to {missing} are missing"
    elif broken is None and fold.last.seq and (after is None or after.seq < fold.last.seq):
        broken = f"records beyond the stored head {after.seq if after else 0}"
    last = fold.last if fold.last.seq > 0 else None
    return Finding(org, fold.last.seq - base.seq, last, broken, base)


def _disagree(before: Head | None, kept: Head | None, base: Head) -> str | None:
    """What is wrong with ``kept`` before any record is read."""
    if kept is None or kept.seq == 0:
        return None
    if kept.seq < base.seq:
        raise HeadPruned(base)
    if kept.seq == base.seq and kept.mac != base.mac:
        return f"the base {base.seq} is not the head kept elsewhere"
    if before is not None and before.seq == kept.seq and before.mac != kept.mac:
        return f"the head {before.seq} is not the one kept elsewhere"
    return None


async def _follow(store: AuditStore, org: str, fold: Fold) -> str | None:
    """Fold all that is stored, what lies before the base too, where nothing may be."""
    after = 0
    while page := await store.links(org, after, PAGE):
        for found in page:
            wrong = fold.take(found)
            if wrong is not None:
                return wrong
        after = fold.last.seq
    return None


class BrokenFile(Exception):
    """A file is not what an export wrote, or does not follow the one before."""

    def __init__(self, file: int, line: int, what: str) -> None:
        """``file`` counts from 0, ``line`` from 1."""
        super().__init__(what)
        self.file, self.line, self.what = file, line, what


def check_files(files: Iterable[Iterable[str]], key: bytes, kept: Head | None = None) -> list[Finding]:
    """What there is of each org's chain in exports, given in the order in which they were made.

    ``kept`` must be among the records of each org. Raises ``BrokenFile``.
    """
    checked = Files(key)
    seen = set()
    for line in file_lines(files, checked):
        if kept is not None and kept == Head(line.link.seq, line.link.mac):
            seen.add(line.org)
    findings = []
    for org, head in sorted(checked.heads.items()):
        missing = kept is not None and kept.seq > 0 and org not in seen
        broken = f"record {kept.seq}, as the head names it, is not in it" if kept and missing else None
        start = checked.starts[org]
        findings.append(Finding(org, head.seq - start.seq, head, broken, start))
    return findings


def file_lines(files: Iterable[Iterable[str]], checked: Files) -> Iterator[Line]:
    """The records in ``files``, each once ``checked`` found that it fits. Raises ``BrokenFile``."""
    for number, texts in enumerate(files):
        count = 0
        for count, text in enumerate(texts, 1):
            try:
                line = from_text(text.removesuffix("\n"))
            except ValueError:
                raise BrokenFile(number, count, "there is something that is no record") from None
            wrong = checked.take(line)
            if wrong is not None:
                raise BrokenFile(number, count, wrong)
            yield line
        wrong = checked.file_ends()
        if wrong is not None:
            raise BrokenFile(number, count, wrong)
