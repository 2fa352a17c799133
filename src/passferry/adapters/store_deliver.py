"""Delivery on the database: whose turn it is, intents, and what became of them."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, Select, bindparam, func, select, update

from passferry.adapters import schema
from passferry.adapters.database import Chain, Database, check_seals, lock_org
from passferry.adapters.prepared import Prepared
from passferry.adapters.rows import change_of, key_id_of
from passferry.adapters.store_accept import write_changes
from passferry.adapters.store_outcome import (
    ACTOR,
    account_of,
    as_begun,
    forget_in_doubt,
    in_order,
    last_delivered,
    newest,
    recovered,
    set_account,
    settle,
)
from passferry.domain.audit import PASSED_ON, Record
from passferry.domain.change import LIVE, Change, Doubt, Failure, State, check_transition
from passferry.domain.messages import message_for
from passferry.domain.outcome import ASKED_TO_WAIT, Next, Outcome
from passferry.org_health import OPERATOR
from passferry.store_ports import Due, MayNotTouch, NotOwner, OrgState, Standing, anybody

CHANGES, ACCOUNTS, ORGS, USERS = schema.changes, schema.accounts, schema.orgs, schema.users
WAITING = (State.PENDING.value, State.PARKED.value)

# Statements of every try are built once: building one costs more than running it.
_ORG = Prepared(select(ORGS).where(ORGS.c.name == bindparam("org")))
_RESOLVE_CHANGE = Prepared(
    update(CHANGES).where(CHANGES.c.id == bindparam("b_id")).values(resolved_id=bindparam("b_resolved"))
)
_RESOLVE_USER = Prepared(
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
WOKEN = 5000
"""Changes at a time, so that nobody waits for long while hundreds of thousands are woken."""
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

        self._epochs[org], state = await self._database.run(work, patient=True)
        return state

    async def org_state(self, org: str) -> OrgState:
        """See the port."""

        def work(c: Connection) -> OrgState:
            row = _ORG.one(c, {"org": org})
            return OrgState(row.paused, row.blocked_until)

        return await self._database.run(work, patient=True)

    async def requests_since(self, org: str, since: float) -> list[float]:
        """See the port."""
        table = schema.audit
        # The trail is read from its end: all of it would take seconds after a year.
        older = select(table.c.seq).where(table.c.org == org, table.c.at <= since)
        older = older.order_by(table.c.seq.desc()).limit(1)
        query = (
            select(table.c.kind, table.c.at, table.c.change_id, table.c.user)
            .where(table.c.org == org, table.c.seq > func.coalesce(older.scalar_subquery(), 0))
            .where(table.c.at > since, table.c.kind.in_(("attempt", "outcome", PASSED_ON)))
            .order_by(table.c.seq)
        )
        return await self._database.run(lambda c: _requests(list(c.execute(query))), patient=True)

    async def due(self, org: str, now: float, limit: int, busy: Sequence[str]) -> Due:
        """See the port."""
        values = {"org": org, "now": now, "busy": list(busy), "most": limit}

        def work(c: Connection) -> Due:
            state = _ORG.one(c, {"org": org})
            changes = _due(c, values) if limit else []
            next_at = c.execute(_NEXT_DUE, {"org": org, "now": now}).scalar()
            return Due(OrgState(state.paused, state.blocked_until), changes, next_at)

        return await self._database.run(work, patient=True)

    async def due_count(self, org: str, now: float, most: int, busy: Sequence[str], *, bulk: bool) -> int:
        """See the port."""
        values = {"org": org, "now": now, "most": most, "busy": list(busy), "bulk": bulk}
        return await self._database.run(
            lambda c: int(c.execute(_DUE_COUNT, values).scalar_one()), patient=True
        )

    async def due_of(self, org: str, now: float, keys: Sequence[str]) -> list[Change]:
        """See the port."""
        values = {"org": org, "now": now, "keys": list(keys)}
        return await self._database.run(
            lambda c: [change_of(row) for row in c.execute(_DUE_OF, values)], patient=True
        )

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
            change = newest(c, change_id)
            if chain is None or change is None or change.state is State.DELIVERING:
                return Standing(None, None, None)  # whoever sends it settles it, and nobody else
            found_out = change.resolved_id is None
            if found_out:
                change = replace(change, resolved_id=resolved_id)
                _RESOLVE_CHANGE.run(c, {"b_id": change_id, "b_resolved": resolved_id})
                values = {"b_org": change.org, "b_key": change.user.key, "b_resolved": resolved_id}
                _RESOLVE_USER.run(c, values)
            account = account_of(c, change.org, change.resolved_id or resolved_id)
            newest_one = in_order(c, chain, change, account, now, barred, found_out=found_out)
            if newest_one is None:
                return Standing(None, None, None)
            return Standing(newest_one, account.intent_at, last_delivered(account))

        return await self._database.run(work, patient=True)

    async def begin(
        self, change_id: str, version: str | None, now: float, block: float, barred: MayNotTouch = anybody
    ) -> Change | float | None:
        """See the port."""

        def work(c: Connection) -> Change | float | None:
            chain = Chain.of_change(c, self._database.audit_key, change_id)
            change = newest(c, change_id)
            if chain is None or change is None or change.resolved_id is None:
                return None
            if change.state is State.DELIVERING or chain.epoch != self._epochs.get(change.org):
                return None
            if chain.paused == OPERATOR:  # the owner hears of it a moment later
                return None
            account = account_of(c, change.org, change.resolved_id)
            if account.intent_at is not None and now < account.intent_at + block:
                return float(account.intent_at + block)
            change = in_order(c, chain, change, account, now, barred)
            if change is None:
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
            set_account(c, account, intent_change=change.id, intent_at=now, **as_begun(c, change))
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
            lambda c: settle(c, self._database.audit_key, change, outcome, nxt, now, verifier)
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
        woken = 0
        while some := await self._database.run(lambda c: _wake(c, org, codes, now)):
            woken += some
        return woken

    async def _end_all(self, org: str, query: Select[Any], state: State, code: str, now: float) -> int:
        def work(c: Connection) -> int:
            chain = Chain(c, self._database.audit_key, org)
            found = [change_of(row) for row in c.execute(query, {"org": org})]
            done = []
            for change in found:
                check_transition(change.state, state)
                doubt = state is State.EXPIRED and forget_in_doubt(c, change)
                done.append(
                    replace(
                        change,
                        state=state,
                        updated_at=now,
                        next_attempt_at=None,
                        sealed=change.sealed if state in LIVE else None,
                        error=Failure(code, message_for(f"{code}.in.doubt" if doubt else code)),
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
        if paused is None and blocked_until == 0.0:
            await self.wake(org, ASKED_TO_WAIT, now)

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
                done = [recovered(c, change, now, block) for change in found]
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

        return await self._database.run(work, patient=True)


def _wake(c: Connection, org: str, codes: Collection[str], now: float) -> int:
    lock_org(c, org)
    some = select(CHANGES.c.id).where(
        CHANGES.c.org == org,
        CHANGES.c.live,
        CHANGES.c.state == State.PENDING.value,
        CHANGES.c.next_attempt_at > now,
        CHANGES.c.error_code.in_(sorted(codes)),
    )
    mine = update(CHANGES).where(CHANGES.c.id.in_(some.limit(WOKEN)))
    return c.execute(mine.values(next_attempt_at=now)).rowcount


def _due(c: Connection, values: dict[str, Any]) -> list[Change]:
    few = c.execute(_ARE_FEW, {"org": values["org"], "now": values["now"]}).scalar_one() < FEW
    rows = list(c.execute(_DUE_OF_FEW if few else _DUE_OF_MANY, values))
    if len(rows) == values["most"] and not rows[-1].bulk:  # people alone: bulk is last in line
        rows += c.execute(_DUE_OF_BULK, values | {"most": BULK_BESIDE})
    return [change_of(row) for row in rows]


def _requests(rows: Sequence[Row[Any]]) -> list[float]:
    """When the requests behind audit records were sent, at the latest.

    An attempt is a read and a write, a try that ended before its write at most two reads. Who is named by
    userName may have been looked up first. What is passed on for others is one request.
    """
    sent: list[float] = []
    attempted = {row.change_id for row in rows if row.kind == "attempt"}
    for row in rows:
        by_name = "@" in (row.user or "")
        if row.kind == PASSED_ON:
            sent.append(row.at)
        elif row.kind == "attempt":
            sent += [row.at] * (3 if by_name else 2)
        elif row.change_id not in attempted:
            sent += [row.at] * 2
    return sent
