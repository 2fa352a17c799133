"""What must be true when a gateway that died, or was hindered otherwise, has brought everything to an end."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from passferry.adapters.key_file import FileSealer
from passferry.bootstrap import audit_key
from passferry.domain.audit import GENESIS, RECORD_FIELDS, Record, verify_link

from .ground import Ledger
from .harness import StandIn

LOST = ("no.answer",)
"""Codes of outcomes after which nobody knows what the target did."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One change that a caller sent until it was accepted: the ``turn``-th of its user."""

    user_id: str
    reference: str
    turn: int
    password: str
    idem: str


def broken(target: StandIn, ledger: Ledger, accepted: Mapping[str, Sent]) -> list[str]:
    """The promises that were not kept, in words. ``accepted``: what each change id was answered for."""
    found = [*_lost(ledger, accepted), *_ends(ledger, accepted)]
    for user_id in dict.fromkeys(one.user_id for one in accepted.values()):
        mine = {change: one for change, one in accepted.items() if one.user_id == user_id}
        found += _order(target, mine.values())
        found += _repeats(target, ledger, user_id, mine)
    return found


def _lost(ledger: Ledger, accepted: Mapping[str, Sent]) -> Iterable[str]:
    for change in set(accepted) - set(ledger.changes):
        yield f"lost: {accepted[change].idem}"
    for change in set(ledger.changes) - set(accepted):
        yield f"accepted beside its Idempotency-Key: {ledger.changes[change]['user_value']}"


def _ends(ledger: Ledger, accepted: Mapping[str, Sent]) -> Iterable[str]:
    for change, one in accepted.items():
        row = ledger.changes.get(change)
        if row is None:
            continue
        newest = max(other.turn for other in accepted.values() if other.user_id == one.user_id)
        ends = ("applied",) if one.turn == newest else ("applied", "superseded")
        if row["state"] not in ends:
            yield f"{one.idem} is {row['state']} {row['error_code'] or ''}"
        if row["sealed"] is not None:
            yield f"the sealed password of {one.idem} was kept"


def _order(target: StandIn, mine: Iterable[Sent]) -> Iterable[str]:
    by_turn = sorted(mine, key=lambda one: one.turn)
    turns = {one.password: one.turn for one in by_turn}
    written = [turns.get(password, -1) for password in target.passwords(by_turn[0].user_id)]
    if not written or written[-1] != by_turn[-1].turn:
        yield f"stale: {by_turn[0].user_id} got {written}"
    if written != sorted(written):
        yield f"older after newer: {written}"


def _repeats(target: StandIn, ledger: Ledger, user_id: str, mine: Mapping[str, Sent]) -> Iterable[str]:
    """A write is made again only after its answer was lost, and the audit trail shows each one."""
    requests = target.do(lambda s: [e for e in s.journal() if e.method == "PUT" and e.path.endswith(user_id)])
    attempts = [row for change in mine for row in ledger.records(change, "attempt")]
    if len(requests) > len(attempts):
        yield f"{len(requests)} writes for {len(attempts)} attempts in the audit trail"
    written = target.passwords(user_id)
    for change, one in mine.items():
        trail = ledger.records(change, "attempt", "outcome", "recovered")
        doubts = sum(row["kind"] == "recovered" or row["code"] in LOST for row in trail)
        if written.count(one.password) > 1 + doubts:
            yield f"{one.idem} was written {written.count(one.password)} times, {doubts} answers were lost"
        row = ledger.changes.get(change)
        if row is not None and row["evidence"] == "inferred" and not doubts:
            yield f"{one.idem} was inferred without a lost answer"


def altered(ledger: Ledger, ring: Path) -> list[str]:
    """The orgs whose audit chain does not hold; in this process, since a command would cost a second."""
    key = audit_key(FileSealer(ring))
    heads = dict.fromkeys(ledger.heads, GENESIS)
    for row in ledger.audit:
        record = Record(**{name: row[name] for name in RECORD_FIELDS})
        before, heads[row["org"]] = heads[row["org"]], row["mac"]
        if not verify_link(key, before, row["org"], row["seq"], record, row["mac"]):
            return [f"the audit chain of {row['org']} breaks at {row['seq']}"]
    return [
        f"the audit chain of {org} lacks its end" for org, mac in ledger.heads.items() if heads[org] != mac
    ]


def repeats_shown(ledger: Ledger) -> str:
    """How often something was tried again, and how often the end was inferred, in words; empty: never."""
    again = sum(row["kind"] == "recovered" for row in ledger.audit)
    inferred = sum(row["evidence"] == "inferred" for row in ledger.changes.values())
    words: Sequence[str] = (f"{again} taken up again" * bool(again), f"{inferred} inferred" * bool(inferred))
    return ", ".join(word for word in words if word)
