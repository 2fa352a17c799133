"""What became of a try: the order among a user's changes, the user's account, and the outcome itself."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, bindparam, exists, func, insert, select, union_all, update

from passferry.adapters import schema
from passferry.adapters.database import Chain, check_seals
from passferry.adapters.prepared import Prepared
from passferry.adapters.rows import change_of, key_id_of
from passferry.adapters.store_accept import superseded, user_row, write_changes
from passferry.domain.accepting import UserRow, newest_of
from passferry.domain.audit import Record
from passferry.domain.change import LIVE, Change, Failure, State, check_transition
from passferry.domain.messages import message_for
from passferry.domain.outcome import AFTER, Kind, Next, Outcome
from passferry.store_ports import Delivered, MayNotTouch

CHANGES, ACCOUNTS, USERS = schema.changes, schema.accounts, schema.users
ACTOR = "delivery"

# Statements of every try are built once: building one costs more than running it.
_CHANGE = Prepared(select(CHANGES).where(CHANGES.c.id == bindparam("id")))
_ACCOUNT = Prepared(
    select(ACCOUNTS).where(
        ACCOUNTS.c.org == bindparam("org"), ACCOUNTS.c.resolved_id == bindparam("resolved")
    )
)
_ADD_ACCOUNT = Prepared(
    insert(ACCOUNTS)
    .values(org=bindparam("org"), resolved_id=bindparam("resolved"), newest_seq=0)
    .returning(ACCOUNTS)
)
_SET_ACCOUNT = Prepared(
    update(ACCOUNTS)
    .where(ACCOUNTS.c.org == bindparam("b_org"), ACCOUNTS.c.resolved_id == bindparam("b_resolved_id"))
    .values(
        {c.name: bindparam(f"b_{c.name}") for c in ACCOUNTS.columns if c.name not in ("org", "resolved_id")}
    )
)
_OF_RESOLVED = select(CHANGES).where(
    CHANGES.c.org == bindparam("org"), CHANGES.c.live, CHANGES.c.id != bindparam("id")
)
_OF_USER = Prepared(
    union_all(
        _OF_RESOLVED.where(CHANGES.c.resolved_id == bindparam("resolved")),
        _OF_RESOLVED.where(
            CHANGES.c.user_key == bindparam("key"), func.coalesce(CHANGES.c.resolved_id, "") == ""
        ),
    )
)
"""Both halves have an index of their own; an OR of them scans every live change. So would an IS NULL in the
second: it would choose the index of the first, and meet every change that is not resolved yet."""
_LOOKED_UP_LATER = exists().where(
    CHANGES.c.org == USERS.c.org,
    CHANGES.c.user_key == USERS.c.key,
    CHANGES.c.user_key != bindparam("key"),
    CHANGES.c.seq == USERS.c.newest_seq,
    CHANGES.c.live,
    func.coalesce(CHANGES.c.resolved_id, "") != bindparam("resolved"),
)
"""Of a name, and no id, whose newest change waits to be looked up: the name may be somebody else's by now."""
_REFERENCE = Prepared(select(USERS).where(USERS.c.org == bindparam("org"), USERS.c.key == bindparam("key")))
_REFERENCES_OF = Prepared(
    union_all(
        select(USERS).where(
            USERS.c.org == bindparam("org"), USERS.c.resolved_id == bindparam("resolved"), ~_LOOKED_UP_LATER
        ),
        select(USERS).where(
            USERS.c.org == bindparam("org"),
            USERS.c.key == bindparam("key"),
            func.coalesce(USERS.c.resolved_id, "") != bindparam("resolved"),
        ),
    )
)
_ACCEPTED_AS = union_all(
    *(
        select(CHANGES.c.id).where(CHANGES.c.org == bindparam("org"), CHANGES.c.seq == bindparam("seq"), mine)
        for mine in (
            CHANGES.c.resolved_id == bindparam("resolved"),
            CHANGES.c.user_key == bindparam("key"),
        )
    )
)
"""A change of an id has no resolved id before it is its turn."""


def in_order(
    c: Connection,
    chain: Chain,
    change: Change,
    account: Any,
    now: float,
    barred: MayNotTouch,
    *,
    found_out: bool = False,
) -> Change | None:
    """``change`` as its resolved user's newest, which supersedes the others; or None: it was superseded.

    ``found_out``: its user was not known before. Changes that will be refused, because their source may not
    touch the user, outrank nobody.
    """
    others = [o for o in _of_user(c, change) if o.superseded_by is None]
    if not (found_out or others or account.newest_seq > change.seq):
        return change
    rows = {row.key: row for row in _REFERENCES_OF.rows(c, _user_values(change))}
    names = [account.resolved_id, *(o.user.value for o in (change, *others)), *(key[2:] for key in rows)]
    others = [o for o in others if not barred(o.source, names)]
    known = {key: user_row(row) for key, row in rows.items() if not barred(row.newest_source, names)}
    newer = _newer(change, known, account)
    if newer is not None:
        _end(c, chain, [superseded(change, _accepted_as(c, account, newer), now)], now)
        return None
    if barred(change.source, names):
        return change
    _end(c, chain, [superseded(o, change.id, now) for o in others], now)
    return change


def _newer(change: Change, known: Mapping[str, UserRow], account: Any) -> int | None:
    """The place in accept order of the change that is newer than ``change``; None when there is none.

    ``known``: the user's references. What was sent to the user counts beside them: of its reference something
    else may be known by now, or nothing.
    """
    last = max((row.newest_seq for row in known.values()), default=0)
    begun, own = _begun(account), known.get(change.user.key)
    untold = begun is None and account.newest_seq > last  # only its place is known
    if own is None or own.newest_seq != change.seq or untold:
        last = max(last, account.newest_seq)
        return last if last > change.seq else None
    newest = newest_of([*known.values(), *([begun] if begun is not None else [])])
    return None if newest.newest_seq == change.seq else newest.newest_seq


def _begun(account: Any) -> UserRow | None:
    """The newest change that was sent to the user; None where none was, or by a program that did not tell."""
    if account.begun_seq is None or account.begun_seq != account.newest_seq:
        return None
    return UserRow(account.begun_seq, account.begun_at, account.begun_source, account.begun_accepted_at)


def as_begun(c: Connection, change: Change) -> dict[str, Any]:
    """Columns of the user's account once ``change`` is sent, as long as it is its reference's newest."""
    row = _REFERENCE.row(c, {"org": change.org, "key": change.user.key})
    if row is None or row.newest_seq != change.seq:
        return {}
    known = user_row(row)
    return {
        "newest_seq": change.seq,
        "begun_seq": change.seq,
        "begun_at": known.newest_at,
        "begun_source": known.newest_source,
        "begun_accepted_at": known.accepted_at,
    }


def _moved(account: Any, change: Change) -> dict[str, Any]:
    """As ``as_begun`` where the reference has a newer change by now: the times are those of the intent."""
    if account.intent_change == change.id and account.begun_seq == account.newest_seq:
        return {"newest_seq": change.seq, "begun_seq": change.seq}
    return {"newest_seq": max(account.newest_seq, change.seq)}


def _end(c: Connection, chain: Chain, gone: Sequence[Change], now: float) -> None:
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


def _of_user(c: Connection, change: Change) -> list[Change]:
    """Other live changes of the same resolved user, under whatever reference."""
    assert change.resolved_id is not None  # noqa: S101  # resolved before it is compared
    return [change_of(row) for row in _OF_USER.rows(c, _user_values(change) | {"id": change.id})]


def _user_values(change: Change) -> dict[str, Any]:
    return {"org": change.org, "resolved": change.resolved_id, "key": f"i:{change.resolved_id}"}


def _accepted_as(c: Connection, account: Any, seq: int) -> str:
    """The id of the change of ``account`` that was accepted as ``seq``; empty when it was pruned."""
    return str(
        c.execute(
            _ACCEPTED_AS,
            {
                "org": account.org,
                "seq": seq,
                "resolved": account.resolved_id,
                "key": f"i:{account.resolved_id}",
            },
        ).scalar()
        or ""
    )


def settle(
    c: Connection,
    key: bytes,
    change: Change,
    outcome: Outcome,
    nxt: Next,
    now: float,
    verifier: bytes | None,
) -> Change:
    """``change`` after ``nxt``, its audit record and its user's account; as stored if it was overtaken."""
    chain = Chain(c, key, change.org)
    row = _CHANGE.row(c, {"id": change.id})
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
            attempt=change.attempts if nxt.concluded else change.attempts + 1,
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
        bulk=stored.bulk or nxt.state is State.PARKED,  # thousands may be looked up hourly: they give way
        attempts=attempts,
        evidence=nxt.evidence,
        error=nxt.error,
        sealed=stored.sealed if live else None,
        doubt=None if (own_doubt and not nxt.keep_doubt) or not live else stored.doubt,
    )


def _note_account(
    c: Connection, change: Change, nxt: Next, outcome: Outcome, verifier: bytes | None, *, sent: bool
) -> None:
    account = account_of(c, change.org, change.resolved_id or "")
    # Else its owner was so slow that a newer one came by. Of one that is not sent, accepts see to it.
    newest = not sent or account.intent_change == change.id
    values: dict[str, Any] = {}
    if (sent or nxt.state is State.APPLIED) and newest and account.begun_seq != change.seq:
        values |= as_begun(c, change) or _moved(account, change)  # not sent, or repeated since its intent
    if sent and nxt.keep_doubt and moves_nothing(account):
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
        set_account(c, account, **values)


def forget_in_doubt(c: Connection, change: Change) -> bool:
    """Drop the verifier of the user of ``change`` if a write to them had no answer; whether one had.

    For what ends without another write: nobody can say then which password the target has.
    """
    unsure = (
        ACCOUNTS.c.org == change.org,
        ACCOUNTS.c.resolved_id == change.resolved_id,
        ACCOUNTS.c.intent_change.is_not(None),
    )
    done = c.execute(update(ACCOUNTS).where(*unsure).values(verifier=None, verifier_key=None))
    return done.rowcount > 0


def recovered(c: Connection, change: Change, now: float, block: float) -> Change:
    """``change``, whose sender is gone, as it waits until nothing of that send can still be executed."""
    if change.superseded_by is not None:
        return superseded(replace(change, state=State.PENDING), change.superseded_by, now)
    assert change.resolved_id is not None  # noqa: S101  # it was resolved before its intent
    account = account_of(c, change.org, change.resolved_id)
    at = account.intent_at or now
    if moves_nothing(account):
        set_account(c, account, delivered_version=None)
    return replace(
        change,
        state=State.PENDING,
        updated_at=now,
        attempts=change.attempts + 1,
        next_attempt_at=max(now, at + block),
        error=Failure("no.answer", message_for("no.answer")),
    )


def newest(c: Connection, change_id: str) -> Change | None:
    """The change while it is its user's newest; None otherwise."""
    row = _CHANGE.row(c, {"id": change_id})
    if row is None or not row.live or row.superseded_by is not None:
        return None
    return change_of(row)


def account_of(c: Connection, org: str, resolved_id: str) -> Any:
    """The row of a resolved user, made when there is none."""
    values = {"org": org, "resolved": resolved_id}
    return _ACCOUNT.row(c, values) or _ADD_ACCOUNT.one(c, values)


def set_account(c: Connection, account: Any, **changed: Any) -> None:
    """Write ``changed`` columns of ``account``, and the others as they are: one statement for all cases."""
    values = {f"b_{name}": value for name, value in account._asdict().items()}
    _SET_ACCOUNT.run(c, values | {f"b_{name}": value for name, value in changed.items()})


def last_delivered(account: Any) -> Delivered | None:
    """What was last brought to the user of ``account``."""
    if account.delivered_change is None:
        return None
    return Delivered(
        account.delivered_change, account.resolved_id, account.delivered_version, account.verifier
    )


def moves_nothing(account: Any) -> bool:
    """Whether the user's version might not show a write: after a lost one it says nothing of what is set."""
    return (account.delivered_version or "").startswith(AFTER)
