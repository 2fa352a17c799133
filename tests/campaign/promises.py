"""What was promised, and whether it was kept: one org of a fleet, after everything has settled."""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from campaign.surroundings import may_be_throttled
from passferry.domain.audit import Record
from passferry.domain.change import LIVE, Change, State
from passferry.state import audit_key
from passferry.trail.verify import check_chain

if TYPE_CHECKING:
    from campaign.fleet import Fleet, Org

LEAVER = ("user.inactive", "user.unknown")
"""Codes of a change for somebody who is not active: some targets do not even list them."""
REJECTED = ("too.many.requests", "version.conflict", "intent.stale", "unauthorized")


@dataclass(frozen=True)
class Sent:
    """One accepted change, as its caller knows it: when it first asked and was answered (virtual)."""

    change_id: str
    user: str  # userName
    password: str
    asked: float
    answered: float


async def broken_promises(it: "Fleet", org: "Org") -> list[str]:
    """Of one org; empty when all is well."""
    stored = await it.stores.lookup.changes(org=org.plan.name, limit=1_000_000)
    changes = {change.id: change for change in stored}
    lost = [
        f"{one.change_id} was accepted and is not there" for one in org.sent if one.change_id not in changes
    ]
    if lost:
        return lost
    records = await _records(it, org.plan.name)
    found = [_twice(it, org, changes)]
    found += [_ended(org, one, changes[one.change_id]) for one in org.sent]
    found += [_sends(it, org, one, records) for one in org.sent]
    found += [_untouched(org, name) for _, name in org.leavers]
    found.append(_throttled(org))
    for _, name in org.users + org.leavers:
        found += [_order(org, name, changes), _newest(org, name, changes), _profile(org, name)]
    found.append((await check_chain(it.stores.audit, audit_key(it.sealer), org.plan.name)).broken or "")
    left = [c.id for c in stored if c.state not in LIVE and c.sealed is not None]
    found.append(f"sealed passwords were kept: {left}" if left else "")
    return [one for one in found if one]


async def _records(it: "Fleet", org: str) -> dict[str, list[Record]]:
    records: dict[str, list[Record]] = {}
    after = 0
    while links := await it.stores.audit.links(org, after, 1000):
        for one in links:
            records.setdefault(one.record.change_id or "", []).append(one.record)
        after = links[-1].seq
    return records


def _twice(it: "Fleet", org: "Org", changes: dict[str, Change]) -> str:
    """Every answered change is one change, and there is no other."""
    known = Counter(one.change_id for one in org.sent)
    odd = [change_id for change_id in set(known) | set(changes) if known[change_id] != 1]
    return f"changes accepted not exactly once for their callers: {sorted(odd)}" if odd else ""


def _ended(org: "Org", sent: Sent, change: Change) -> str:
    if change.state is State.APPLIED:
        written = any(one.password == sent.password for one in org.simulator.writes(sent.user))
        return "" if written else f"{change.id} is applied, and was never written"
    if change.state is State.SUPERSEDED:
        return ""
    if change.state is State.CANCELLED and change.id in org.cancelled:
        return ""
    code = change.error.code if change.error else None
    if change.state is State.PARKED and code == "outcome.unknown" and org.no_proof:
        return ""
    if change.state is State.PARKED and code in LEAVER and any(sent.user == name for _, name in org.leavers):
        return ""
    return f"{change.id} ended {change.state} {code} attempts {change.attempts}"


def _sends(it: "Fleet", org: "Org", sent: Sent, records: dict[str, list[Record]]) -> str:
    """An intent is sent once, and a write is repeated only after one whose answer was lost."""
    mine = records.get(sent.change_id, [])
    attempts = sum(one.kind == "attempt" for one in mine)
    if it.requests[sent.password] > attempts:
        return f"{sent.change_id}: {it.requests[sent.password]} requests with {attempts} intents"
    lost = sum(one.kind == "recovered" or (one.kind == "outcome" and _lost(one)) for one in mine)
    writes = sum(one.password == sent.password for one in org.simulator.writes(sent.user))
    if writes > 1 + lost:
        return f"{sent.change_id}: written {writes} times, {lost} answers were lost"
    return ""


def _lost(record: Record) -> bool:
    """Whether an outcome leaves open if the write was executed."""
    return record.state != State.APPLIED.value and record.code not in REJECTED


def _order(org: "Org", name: str, changes: dict[str, Change]) -> str:
    """What was answered before something else was asked is older; and no older is written after a newer."""
    mine = sorted((one for one in org.sent if one.user == name), key=lambda one: changes[one.change_id].seq)
    asked = float("-inf")
    for one in mine:
        if one.answered < asked:
            return f"{name}: {one.change_id} was answered before an older one was asked for"
        asked = max(asked, one.asked)
    place = {one.password: number for number, one in enumerate(mine)}
    written = [place[one.password] for one in org.simulator.writes(name)]
    return f"{name}: older after newer: {written}" if written != sorted(written) else ""


def _newest(org: "Org", name: str, changes: dict[str, Change]) -> str:
    mine = [one for one in org.sent if one.user == name]
    if not mine:
        return ""
    newest = max(mine, key=lambda one: changes[one.change_id].seq)
    change = changes[newest.change_id]
    if change.state is State.SUPERSEDED:
        return f"{name}: the newest, {change.id}, is superseded"
    if change.state is State.APPLIED and not org.simulator.verify(name, newest.password):
        return f"{name}: the newest is applied, and the user has another password"
    return ""


def _untouched(org: "Org", name: str) -> str:
    """Nobody who left gets a password, or is made active by one."""
    touched = org.simulator.writes(name) or org.simulator.user(name).active
    return f"{name} had left, and was written to" if touched else ""


def _throttled(org: "Org") -> str:
    refused = org.simulator.stats()["rateLimited"]
    return f"{refused} times 429 that no fault made" if refused and not may_be_throttled(org) else ""


def _profile(org: "Org", name: str) -> str:
    if org.plan.faults.get("edited_between"):
        return ""
    same = org.simulator.profile_text(name).decode() == org.before[name]
    return "" if same else f"{name}: the profile changed"
