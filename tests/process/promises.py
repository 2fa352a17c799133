"""What must be true when a gateway that died, or was hindered otherwise, has brought everything to an end."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from passferry.adapters.key_file import FileSealer
from passferry.domain.audit import GENESIS, RECORD_FIELDS, Record, verify_link
from passferry.simulator import Fate
from passferry.state import audit_key

from .ground import Ledger
from .harness import StandIn

LOST, UNENDED, STALE, ORDER, REPEATED = "lost", "not ended well", "stale", "older after newer", "repeated"
KEPT, PROFILE, AUDIT = "password kept", "profile changed", "audit"
KINDS = (LOST, UNENDED, STALE, ORDER, REPEATED, KEPT, PROFILE, AUDIT)
"""The promises, by what breaks them."""

NO_ANSWER = ("no.answer", "target.answer.unusable", "target.redirect", "target.unavailable", "user.changed")
"""Codes of outcomes after which nobody knows what the target did."""


@dataclass(frozen=True, slots=True)
class Breach:
    """One promise that was not kept."""

    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@dataclass(frozen=True, slots=True)
class Sent:
    """One change that a caller sent until it was accepted: the ``turn``-th of its user."""

    user_id: str
    reference: str
    turn: int
    password: str

    @property
    def idem(self) -> str:
        """Its Idempotency-Key."""
        return f"{self.user_id}-{self.turn}"


def broken(target: StandIn, ledger: Ledger, accepted: Mapping[str, Sent]) -> list[Breach]:
    """What was not kept. ``accepted``: which change each id was answered for."""
    found = [*_lost(ledger, accepted)]
    by_user: dict[str, dict[str, Sent]] = {}
    for change, one in accepted.items():
        by_user.setdefault(one.user_id, {})[change] = one
    for user_id, mine in by_user.items():
        found += [*_ends(ledger, mine), *_order(target, user_id, mine)]
        found += _repeats(target, ledger, user_id, mine)
    return found


def _lost(ledger: Ledger, accepted: Mapping[str, Sent]) -> Iterator[Breach]:
    for change in set(accepted) - set(ledger.changes):
        yield Breach(LOST, accepted[change].idem)
    for change in set(ledger.changes) - set(accepted):
        yield Breach(
            LOST, f"{ledger.changes[change]['user_value']} was accepted twice for one Idempotency-Key"
        )


def _ends(ledger: Ledger, mine: Mapping[str, Sent]) -> Iterator[Breach]:
    newest = max(one.turn for one in mine.values())
    for change, one in mine.items():
        row = ledger.changes.get(change)
        if row is None:
            continue
        ends = ("applied",) if one.turn == newest else ("applied", "superseded")
        if row["state"] not in ends:
            yield Breach(UNENDED, f"{one.idem} is {row['state']} {row['error_code'] or ''}")
        if row["sealed"] is not None:
            yield Breach(KEPT, one.idem)


def _order(target: StandIn, user_id: str, mine: Mapping[str, Sent]) -> Iterator[Breach]:
    turns = {one.password: one.turn for one in mine.values()}
    written = [turns.get(password, -1) for password in target.passwords(user_id)]
    if not written or written[-1] != max(turns.values()):
        yield Breach(STALE, f"{user_id} got {written}")
    if written != sorted(written):
        yield Breach(ORDER, f"{user_id} got {written}")


def _repeats(target: StandIn, ledger: Ledger, user_id: str, mine: Mapping[str, Sent]) -> Iterable[Breach]:
    """A write is made again only after its answer was lost, and the audit trail shows each one."""
    requests = target.do(
        lambda s: sum(
            e.method == "PUT"
            and e.path.endswith(user_id)
            and not (e.fault == "late_write" and e.fate is Fate.ANSWER)
            for e in s.journal()
        )
    )  # a late write is in the journal twice: when it came, and when it was executed
    attempts = sum(len(ledger.records(change, "attempt")) for change in mine)
    if requests > attempts:
        yield Breach(REPEATED, f"{requests} writes to {user_id}, {attempts} attempts in the audit trail")
    written = target.passwords(user_id)
    for change, one in mine.items():
        doubts = _doubts(ledger, change)
        if written.count(one.password) > 1 + doubts:
            yield Breach(
                REPEATED, f"{one.idem}: {written.count(one.password)} times, {doubts} answers were lost"
            )
        row = ledger.changes.get(change)
        if row is not None and row["evidence"] == "inferred" and not doubts:
            yield Breach(REPEATED, f"{one.idem} was inferred without a lost answer")


def _doubts(ledger: Ledger, change: str) -> int:
    """After how many of its attempts nobody knew what the target had done."""
    trail = ledger.records(change, "outcome", "recovered")
    return sum(row["kind"] == "recovered" or row["code"] in NO_ANSWER for row in trail)


def altered(ledger: Ledger, ring: Path) -> list[Breach]:
    """The audit chains that do not hold; found in this process, since a command would cost a second."""
    key = audit_key(FileSealer(ring))
    heads = dict.fromkeys(ledger.heads, GENESIS)
    for row in ledger.audit:
        record = Record(**{name: row[name] for name in RECORD_FIELDS})
        before, heads[row["org"]] = heads[row["org"]], row["mac"]
        if not verify_link(key, before, row["org"], row["seq"], record, row["mac"]):
            return [Breach(AUDIT, f"the chain of {row['org']} breaks at {row['seq']}")]
    return [Breach(AUDIT, f"{org} lacks its end") for org, mac in ledger.heads.items() if heads[org] != mac]


@dataclass(frozen=True, slots=True)
class Shown:
    """What the database shows of answers that were lost."""

    doubts: int  # attempts after which nobody knew what the target had done
    again: int  # changes with more than one attempt
    inferred: int  # changes whose outcome was found out afterwards

    @classmethod
    def by(cls, ledger: Ledger) -> "Shown":
        """Count them."""
        ids: Sequence[str] = list(ledger.changes)
        return cls(
            sum(_doubts(ledger, change) for change in ids),
            sum(len(ledger.records(change, "attempt")) > 1 for change in ids),
            sum(row["evidence"] == "inferred" for row in ledger.changes.values()),
        )
