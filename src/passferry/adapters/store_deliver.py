"""Delivery on the database: whose turn it is, intents, and what became of them."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, func, insert, select, union_all, update

from passferry.adapters import schema
from passferry.adapters.database import Chain, Database, check_seals, lock_org
from passferry.adapters.rows import change_of, key_id_of
from passferry.adapters.store_accept import superseded, write_changes
from passferry.domain.audit import Record
from passferry.domain.change import LIVE, Change, Doubt, Failure, State, check_transition
from passferry.domain.messages import message_for
from passferry.domain.outcome import AFTER, Kind, Next, Outcome
from passferry.ports import Delivered, Due, MayNotTouch, NotOwner, OrgState, Standing, anybody

CHANGES, ACCOUNTS, ORGS, USERS = schema.changes, schema.accounts, schema.orgs, schema.users
ACTOR = "delivery"
WAITING = (State.PENDING.value, State.PARKED.value)

# Statements of every try are built once: building one costs more than running it.
_ORG = select(ORGS).where(ORGS.c.name == bindparam("org"))
_CHANGE = select(CHANGES).where(CHANGES.c.id == bindparam("id"))
_ACCOUNT = select(ACCOUNTS).where(
    ACCOUNTS.c.org == bindparam("org"), ACCOUNTS.c.resolved_id == bindparam("resolved")
)
_ADD_ACCOUNT = (
    insert(ACCOUNTS)
    .values(org=bindparam("org"), resolved_id=bindparam("resolved"), newest_seq=0)
    .returning(ACCOUNTS)
)
_SET_ACCOUNT = (
    update(ACCOUNTS)
    .where(ACCOUNTS.c.org == bindparam("b_org"), ACCOUNTS.c.resolved_id == bindparam("b_resolved_id"))
    .values(
        {c.name: bindparam(f"b_{c.name}") for c in ACCOUNTS.columns if c.name not in ("org", "resolved_id")}
    )
)
_RESOLVE_CHANGE = (
    update(CHANGES).where(CHANGES.c.id == bindparam("b_id")).values(resolved_id=bindparam("b_resolved"))
)
_RESOLVE_USER = (
    update(USERS)
    .where(USERS.c.org == bindparam("b_org"), USERS.c.key == bindparam("b_key"))
    .values(resolved_id=bindparam("b_resolved"))
)
_WAITING = select(CHANGES).where(
    CHANGES.c.org == bindparam("org"),
    CHANGES.c.live,
    CHANGES.c.state.in_(WAITING),
    CHANGES.c.superseded_by.is_(None),
)
"""Changes that hold their password and are not being sent."""
_NOT_BUSY = _WAITING.where(CHANGES.c.id.not_in(bindparam("busy", expanding=True))).limit(bindparam("most"))
# "+ 0" keeps an index out of it. Of many due changes, the index in order of waiting finds the first without a
# sort; of few, it would walk past everything that is parked or waits for a later time.
_DUE_OF_MANY = _NOT_BUSY.where(CHANGES.c.next_attempt_at + 0 <= bindparam("now")).order_by(
    CHANGES.c.bulk, CHANGES.c.waiting_since
)
_DUE_OF_FEW = _NOT_BUSY.where(CHANGES.c.next_attempt_at <= bindparam("now")).order_by(
    CHANGES.c.bulk, CHANGES.c.waiting_since + 0
)
_DUE_OF_BULK = _NOT_BUSY.where(CHANGES.c.bulk, CHANGES.c.next_attempt_at + 0 <= bindparam("now")).order_by(
    CHANGES.c.waiting_since
)
BULK_BESIDE = 8
"""However many people's changes are due, so many of bulk are named beside them."""
_DUE_COUNT = select(func.count()).select_from(
    _WAITING.with_only_columns(CHANGES.c.id)
    .where(
        CHANGES.c.bulk == bindparam("bulk"),
        CHANGES.c.next_attempt_at <= bindparam("now"),
        CHANGES.c.id.not_in(bindparam("busy", expanding=True)),
    )
    .limit(bindparam("most"))
    .subquery()
)
_DUE_OF = _WAITING.where(
    CHANGES.c.user_key.in_(bindparam("keys", expanding=True)),
    CHANGES.c.next_attempt_at + 0 <= bindparam("now"),
)
BATCH = 500
"""Changes that are ended, or parked, in one transaction."""
FEW = 1000
_ARE_FEW = select(func.count()).select_from(
    select(CHANGES.c.id)
    .where(CHANGES.c.org == bindparam("org"), CHANGES.c.live, CHANGES.c.next_attempt_at <= bindparam("now"))
    .limit(FEW)
    .subquery()
)
_NEXT_DUE = select(func.min(CHANGES.c.next_attempt_at)).where(
    CHANGES.c.org == bindparam("org"), CHANGES.c.live, CHANGES.c.next_attempt_at > bindparam("now")
)
_OF_RESOLVED = select(CHANGES).where(
    CHANGES.c.org == bindparam("org"), CHANGES.c.live, CHANGES.c.id != bindparam("id")
)
_OF_USER = union_all(
    _OF_RESOLVED.where(CHANGES.c.resolved_id == bindparam("resolved")),
    _OF_RESOLVED.where(
        CHANGES.c.user_key == bindparam("key"), func.coalesce(CHANGES.c.resolved_id, "") == ""
    ),
)
"""Both halves have an index of their own; an OR of them scans every live change. So would an IS NULL in the
second: it would choose the index of the first, and meet every change that is not resolved yet."""


class SqlDeliveryStore:
    """The port ``DeliveryStore``. An owner whose epoch has passed begins nothing."""

    def __init__(self, database: Database, worker: str | None = None) -> None:
        """``worker`` is the id under which orgs are claimed; None where only one process can deliver."""
        self._database, self._worker = database, worker
        self._epochs: dict[str, int] = {}

    def of(self, org: str) -> "SqlDeliveryStore":
        """The same for the owner of one org. Whoever holds the org's lock for long holds up no other org."""
        mine = SqlDeliveryStore(self._database.lane(org), self._worker)
        mine._epochs = self._epochs
        return mine

    async def take(self, org: str) -> OrgState:
        """See the port."""

        def work(c: Connection) -> tuple[int, OrgState]:
            row = lock_org(c, org)
            if self._worker is not None and row.owner != self._worker:
                raise NotOwner(org)
            c.execute(update(ORGS).where(ORGS.c.name == org).values(epoch=row.epoch + 1))
            return row.epoch + 1, OrgState(row.paused, row.blocked_until)

        self._epochs[org], state = await self._database.run(work)
        return state

    async def org_state(self, org: str) -> OrgState:
        """See the port."""

        def work(c: Connection) -> OrgState:
            row = c.execute(_ORG, {"org": org}).one()
            return OrgState(row.paused, row.blocked_until)

        return await self._database.run(work)

    async def requests_since(self, org: str, since: float) -> list[float]:
        """See the port."""
        table = schema.audit
        # The trail is read from its end: all of it would take seconds after a year.
        older = select(table.c.seq).where(table.c.org == org, table.c.at <= since)
        older = older.order_by(table.c.seq.desc()).limit(1)
        query = (
            select(table.c.kind, table.c.at, table.c.change_id, table.c.user)
            .where(table.c.org == org, table.c.seq > func.coalesce(older.scalar_subquery(), 0))
            .where(table.c.at > since, table.c.kind.in_(("attempt", "outcome")))
            .order_by(table.c.seq)
        )
        return await self._database.run(lambda c: _requests(list(c.execute(query))))

    async def due(self, org: str, now: float, limit: int, busy: Sequence[str]) -> Due:
        """See the port."""
        values = {"org": org, "now": now, "busy": list(busy), "most": limit}

        def work(c: Connection) -> Due:
            state = c.execute(_ORG, {"org": org}).one()
            changes = _due(c, values) if limit else []
            next_at = c.execute(_NEXT_DUE, {"org": org, "now": now}).scalar()
            return Due(OrgState(state.paused, state.blocked_until), changes, next_at)

        return await self._database.run(work)

    async def due_count(self, org: str, now: float, most: int, busy: Sequence[str], *, bulk: bool) -> int:
        """See the port."""
        values = {"org": org, "now": now, "most": most, "busy": list(busy), "bulk": bulk}
        return await self._database.run(lambda c: int(c.execute(_DUE_COUNT, values).scalar_one()))

    async def due_of(self, org: str, now: float, keys: Sequence[str]) -> list[Change]:
        """See the port."""
        values = {"org": org, "now": now, "keys": list(keys)}
        return await self._database.run(lambda c: [change_of(row) for row in c.execute(_DUE_OF, values)])

    async def rebase(self, org: str, now: float, by: float) -> int:
        """See the port."""
        mine = update(CHANGES).where(CHANGES.c.org == org, schema.LIVE)
        times = (CHANGES.c.next_attempt_at, CHANGES.c.waiting_since, CHANGES.c.doubt_at)
        waits = [mine.where(time > now).values({time: time - by}) for time in times]
        intents = (
            update(ACCOUNTS)
            .where(ACCOUNTS.c.org == org, ACCOUNTS.c.intent_at > now)
            .values(intent_at=ACCOUNTS.c.intent_at - by)
        )
        blocked = (
            update(ORGS)
            .where(ORGS.c.name == org, ORGS.c.blocked_until > now)
            .values(blocked_until=ORGS.c.blocked_until - by)
        )

        def work(c: Connection) -> int:
            if lock_org(c, org).epoch != self._epochs.get(org):
                return 0  # another owner shifts them, or did
            return sum(c.execute(each).rowcount for each in (*waits, intents, blocked))

        return await self._database.run(work)

    async def resolve(
        self, change_id: str, resolved_id: str, now: float, barred: MayNotTouch = anybody
    ) -> Standing:
        """See the port."""

        def work(c: Connection) -> Standing:
            chain = Chain.of_change(c, self._database.audit_key, change_id)
            change = _load(c, change_id)
            if chain is None or change is None or change.state is State.DELIVERING:
                return Standing(None, None, None)  # whoever sends it settles it, and nobody else
            if change.resolved_id is None:
                change = replace(change, resolved_id=resolved_id)
                c.execute(_RESOLVE_CHANGE, {"b_id": change_id, "b_resolved": resolved_id})
                values = {"b_org": change.org, "b_key": change.user.key, "b_resolved": resolved_id}
                c.execute(_RESOLVE_USER, values)
            account = _account(c, change.org, change.resolved_id or resolved_id)
            if _settle_order(c, chain, change, account, now, barred):
                return Standing(None, None, None)
            return Standing(change, account.intent_at, _delivered(account))

        return await self._database.run(work)

    async def begin(
        self, change_id: str, version: str | None, now: float, block: float, barred: MayNotTouch = anybody
    ) -> Change | float | None:
        """See the port."""

        def work(c: Connection) -> Change | float | None:
            chain = Chain.of_change(c, self._database.audit_key, change_id)
            change = _load(c, change_id)
            if chain is None or change is None or change.resolved_id is None:
                return None
            if change.state is State.DELIVERING or chain.epoch != self._epochs.get(change.org):
                return None
            account = _account(c, change.org, change.resolved_id)
            if account.intent_at is not None and now < account.intent_at + block:
                return float(account.intent_at + block)
            if _settle_order(c, chain, change, account, now, barred):
                return None
            attempt = change.attempts + 1
            check_transition(change.state, State.DELIVERING)
            begun = replace(
                change,
                state=State.DELIVERING,
                updated_at=now,
                doubt=change.doubt or Doubt(now, version, attempt),
            )
            write_changes(c, [begun])
            _set_account(c, account, intent_change=change.id, intent_at=now, newest_seq=change.seq)
            chain.add(
                Record(
                    "attempt",
                    now,
                    ACTOR,
                    change.id,
                    change.user.value,
                    begun.state.value,
                    attempt=attempt,
                    version=version,
                )
            )
            chain.close()
            return begun

        return await self._database.run(work)

    async def settle(
        self, change: Change, outcome: Outcome, nxt: Next, now: float, verifier: bytes | None = None
    ) -> Change:
        """See the port."""
        return await self._database.run(
            lambda c: _settle(c, self._database.audit_key, change, outcome, nxt, now, verifier)
        )

    async def add_verifier(self, change: Change, verifier: bytes) -> None:
        """See the port."""
        mine = update(ACCOUNTS).where(
            ACCOUNTS.c.org == change.org,
            ACCOUNTS.c.resolved_id == change.resolved_id,
            ACCOUNTS.c.delivered_change == change.id,
        )

        def work(c: Connection) -> None:
            lock_org(c, change.org)
            check_seals(c, [verifier])
            c.execute(mine.values(verifier=verifier, verifier_key=key_id_of(verifier)))

        await self._database.run(work)

    async def expire(self, org: str, now: float) -> int:
        """See the port."""
        query = _WAITING.where(CHANGES.c.expires_at <= now).limit(BATCH)
        return await self._end_all(org, query, State.EXPIRED, "expired", now)

    async def hold(self, org: str, now: float) -> int:
        """See the port."""
        await self.recover(org, now, 0.0)  # what was being sent when the back-up was made waits as well
        # Not IS NOT NULL: no index serves it on SQLite, and each batch would pass what is parked already.
        query = _WAITING.where(CHANGES.c.next_attempt_at >= 0.0).limit(BATCH)
        return await self._end_all(org, query, State.PARKED, "held", now)

    async def wake(self, org: str, codes: Collection[str], now: float) -> int:
        """See the port."""
        mine = update(CHANGES).where(
            CHANGES.c.org == org,
            CHANGES.c.live,
            CHANGES.c.state == State.PENDING.value,
            CHANGES.c.next_attempt_at > now,
            CHANGES.c.error_code.in_(sorted(codes)),
        )

        def work(c: Connection) -> int:
            lock_org(c, org)
            return c.execute(mine.values(next_attempt_at=now)).rowcount

        return await self._database.run(work)

    async def _end_all(self, org: str, query: Select[Any], state: State, code: str, now: float) -> int:
        def work(c: Connection) -> int:
            chain = Chain(c, self._database.audit_key, org)
            found = [change_of(row) for row in c.execute(query, {"org": org})]
            done = []
            for change in found:
                check_transition(change.state, state)
                done.append(
                    replace(
                        change,
                        state=state,
                        updated_at=now,
                        next_attempt_at=None,
                        sealed=change.sealed if state in LIVE else None,
                        error=Failure(code, message_for(code)),
                    )
                )
                chain.add(Record(code, now, ACTOR, change.id, change.user.value, state.value, code))
            write_changes(c, done)
            chain.close()
            return len(done)

        return await self._database.run(work)

    async def set_org(
        self, org: str, paused: str | None, blocked_until: float | None, actor: str, now: float
    ) -> None:
        """See the port."""

        def work(c: Connection) -> None:
            row = lock_org(c, org)
            until = row.blocked_until if blocked_until is None else blocked_until
            self._write_org(c, row, paused, until, actor, now)

        await self._database.run(work)

    async def note_health(
        self, org: str, was: str | None, paused: str | None, blocked_until: float, now: float
    ) -> None:
        """See the port."""

        def work(c: Connection) -> None:
            row = lock_org(c, org)
            becomes = paused if row.paused == was else row.paused
            self._write_org(c, row, becomes, max(row.blocked_until, blocked_until), ACTOR, now)

        await self._database.run(work)

    def _write_org(
        self, c: Connection, row: Row[Any], paused: str | None, until: float, actor: str, now: float
    ) -> None:
        c.execute(update(ORGS).where(ORGS.c.name == row.name).values(paused=paused, blocked_until=until))
        if row.paused != paused:
            chain = Chain(c, self._database.audit_key, row.name)
            chain.add(Record("paused" if paused else "resumed", now, actor, code=paused or row.paused))
            chain.close()

    async def recover(self, org: str, now: float, block: float, busy: Sequence[str] = ()) -> int:
        """See the port."""

        def work(c: Connection) -> int:
            query = select(CHANGES).where(
                CHANGES.c.org == org, schema.LIVE, CHANGES.c.state == State.DELIVERING.value
            )
            chain = Chain(c, self._database.audit_key, org)
            found = [change_of(row) for row in c.execute(query) if row.id not in busy]
            if found:
                done = [_recovered(c, change, now, block) for change in found]
                for change in done:
                    chain.add(
                        Record(
                            "recovered",
                            now,
                            ACTOR,
                            change.id,
                            change.user.value,
                            change.state.value,
                            attempt=change.attempts,
                        )
                    )
                write_changes(c, done)
                chain.close()
            return len(found)

        return await self._database.run(work)


def _settle_order(
    c: Connection, chain: Chain, change: Change, account: Row[Any], now: float, barred: MayNotTouch
) -> bool:
    """Supersede the older of this resolved user's changes; whether ``change`` itself is among them.

    Those that will be refused, because their source may not touch the user, outrank nobody.
    """
    others = [o for o in _of_user(c, change) if o.superseded_by is None]
    names = [account.resolved_id, *(o.user.value for o in (change, *others))]
    others = [o for o in others if not barred(o.source, names)]
    outranks = not barred(change.source, names)
    newer = max((o for o in others if o.seq > change.seq), key=lambda o: o.seq, default=None)
    gone: list[Change] = []
    if newer is not None or account.newest_seq > change.seq:
        by = newer.id if newer is not None else _accepted_as(c, account)
        gone = [superseded(change, by, now)]
    gone += [superseded(o, change.id, now) for o in others if o.seq < change.seq and outranks]
    for old in gone:
        chain.add(
            Record(
                "superseded",
                now,
                ACTOR,
                old.id,
                old.user.value,
                old.state.value,
                other=old.superseded_by or None,
            )
        )
    write_changes(c, gone)
    chain.close()
    return bool(gone) and gone[0].id == change.id


def _due(c: Connection, values: dict[str, Any]) -> list[Change]:
    few = c.execute(_ARE_FEW, {"org": values["org"], "now": values["now"]}).scalar_one() < FEW
    rows = list(c.execute(_DUE_OF_FEW if few else _DUE_OF_MANY, values))
    if len(rows) == values["most"] and not rows[-1].bulk:  # people alone: bulk is last in line
        rows += c.execute(_DUE_OF_BULK, values | {"most": BULK_BESIDE})
    return [change_of(row) for row in rows]


def _requests(rows: Sequence[Row[Any]]) -> list[float]:
    """When the requests behind audit records were sent, at the latest.

    An attempt is a read and a write, a try that ended before its write at most two reads. Who is named by
    userName may have been looked up first.
    """
    sent: list[float] = []
    attempted = {row.change_id for row in rows if row.kind == "attempt"}
    for row in rows:
        by_name = "@" in (row.user or "")
        if row.kind == "attempt":
            sent += [row.at] * (3 if by_name else 2)
        elif row.change_id not in attempted:
            sent += [row.at] * 2
    return sent


def _accepted_as(c: Connection, account: Row[Any]) -> str:
    """The id of the newest change of ``account`` that a write was begun for."""
    mine = select(CHANGES.c.id).where(
        CHANGES.c.org == account.org,
        CHANGES.c.resolved_id == account.resolved_id,
        CHANGES.c.seq == account.newest_seq,
    )
    return str(c.execute(mine).scalar() or "")


def _load(c: Connection, change_id: str) -> Change | None:
    """The change while it is its user's newest; None otherwise."""
    row = c.execute(_CHANGE, {"id": change_id}).one_or_none()
    if row is None or not row.live or row.superseded_by is not None:
        return None
    return change_of(row)


def _of_user(c: Connection, change: Change) -> list[Change]:
    """Other live changes of the same resolved user, under whatever reference."""
    assert change.resolved_id is not None  # noqa: S101  # resolved before it is compared
    values = {
        "org": change.org,
        "id": change.id,
        "resolved": change.resolved_id,
        "key": f"i:{change.resolved_id}",
    }
    return [change_of(row) for row in c.execute(_OF_USER, values)]


def _account(c: Connection, org: str, resolved_id: str) -> Row[Any]:
    values = {"org": org, "resolved": resolved_id}
    return c.execute(_ACCOUNT, values).one_or_none() or c.execute(_ADD_ACCOUNT, values).one()


def _set_account(c: Connection, account: Row[Any], **changed: Any) -> None:
    """Write ``changed`` columns of ``account``, and the others as they are: one statement for all cases."""
    values = {f"b_{name}": value for name, value in account._mapping.items()}
    c.execute(_SET_ACCOUNT, values | {f"b_{name}": value for name, value in changed.items()})


def _delivered(account: Row[Any]) -> Delivered | None:
    if account.delivered_change is None:
        return None
    return Delivered(
        account.delivered_change, account.resolved_id, account.delivered_version, account.verifier
    )


def _moves_nothing(account: Row[Any]) -> bool:
    """Whether the user's version might not show a write: after a lost one it says nothing of what is set."""
    return (account.delivered_version or "").startswith(AFTER)


def _recovered(c: Connection, change: Change, now: float, block: float) -> Change:
    if change.superseded_by is not None:
        return superseded(replace(change, state=State.PENDING), change.superseded_by, now)
    assert change.resolved_id is not None  # noqa: S101  # it was resolved before its intent
    account = _account(c, change.org, change.resolved_id)
    at = account.intent_at or now
    if _moves_nothing(account):
        _set_account(c, account, delivered_version=None)
    return replace(
        change,
        state=State.PENDING,
        updated_at=now,
        attempts=change.attempts + 1,
        next_attempt_at=max(now, at + block),
        error=Failure("no.answer", message_for("no.answer")),
    )


def _settle(
    c: Connection,
    key: bytes,
    change: Change,
    outcome: Outcome,
    nxt: Next,
    now: float,
    verifier: bytes | None,
) -> Change:
    chain = Chain(c, key, change.org)
    row = c.execute(_CHANGE, {"id": change.id}).one_or_none()
    if row is None:
        return change  # cancelled, and then its user was forgotten
    stored = change_of(row)
    if not row.live or stored.state is not change.state or stored.attempts != change.attempts:
        return stored  # an operator or a newer change was faster, or another owner tries it
    if verifier is not None:
        check_seals(c, [verifier])
    sent = stored.state is State.DELIVERING
    done = _after(stored, change, nxt, now)
    check_transition(stored.state, done.state)
    write_changes(c, [done])
    if outcome.kind is Kind.DRY_RUN and stored.error == done.error:
        return done  # as an hour ago: the trail has it already, and a long dry run would fill it
    if change.resolved_id is not None and (sent or done.state is State.APPLIED):
        _note_account(c, stored, nxt, outcome, verifier, sent=sent)
    chain.add(
        Record(
            "outcome",
            now,
            ACTOR,
            change.id,
            change.user.value,
            done.state.value,
            outcome.code or outcome.kind.value,
            done.evidence.value if done.evidence else None,
            attempt=change.attempts + 1,
            version=outcome.version,
            correlation_id=outcome.correlation_id,
            other=done.superseded_by,
        )
    )
    chain.close()
    return done


def _after(stored: Change, tried: Change, nxt: Next, now: float) -> Change:
    """``stored`` after what was decided. A newer change, accepted meanwhile, ends it unless it applied."""
    attempts = stored.attempts + (1 if nxt.counts else 0)
    if stored.superseded_by is not None and nxt.state is not State.APPLIED:
        return replace(
            superseded(replace(stored, state=State.PENDING), stored.superseded_by, now), attempts=attempts
        )
    live = nxt.state in LIVE
    own_doubt = stored.doubt is not None and stored.state is State.DELIVERING
    own_doubt = own_doubt and stored.doubt is not None and stored.doubt.attempt == tried.attempts + 1
    return replace(
        stored,
        state=nxt.state,
        updated_at=now,
        next_attempt_at=nxt.at if live else None,
        attempts=attempts,
        evidence=nxt.evidence,
        error=nxt.error,
        sealed=stored.sealed if live else None,
        doubt=None if (own_doubt and not nxt.keep_doubt) or not live else stored.doubt,
    )


def _note_account(
    c: Connection, change: Change, nxt: Next, outcome: Outcome, verifier: bytes | None, *, sent: bool
) -> None:
    account = _account(c, change.org, change.resolved_id or "")
    newest = change.seq >= account.newest_seq  # else its owner was so slow that a newer one came by
    values: dict[str, Any] = {}
    if (sent or nxt.state is State.APPLIED) and newest:
        values["newest_seq"] = change.seq  # which is higher than at its intent, if it was repeated since
    if sent and nxt.keep_doubt and _moves_nothing(account):
        values["delivered_version"] = None
    if sent and not nxt.keep_doubt and account.intent_change == change.id:
        values |= {"intent_change": None, "intent_at": None}
    if nxt.state is State.APPLIED and newest and (sent or verifier is not None):
        values |= {
            "delivered_change": change.id,
            "delivered_version": outcome.version,
            "verifier": verifier,
            "verifier_key": key_id_of(verifier),
        }
    if values:
        _set_account(c, account, **values)
