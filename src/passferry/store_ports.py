"""The ports of the store: what each use case asks of it, in transactions of its own."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from passferry.domain.accepting import Judge, NewChange, Stopped, Verdict
from passferry.domain.audit import Head, Link, Record
from passferry.domain.change import Change, Reference, State
from passferry.domain.outcome import Next, Outcome
from passferry.domain.source_rules import SourceRules
from passferry.ports import Binding


class StoreFull(Exception):
    """The disk is full: nothing of the call was stored, and a later one may succeed."""


class StoreBusy(StoreFull):
    """Another program holds the database for too long: nothing was stored, and a later call may succeed."""


class StoreAway(StoreFull):
    """The database cannot be reached. What was being committed may be stored; a later call may succeed."""


class StoreLost(Exception):
    """A commit failed and its effect is not known: the process must end and start anew."""


class StaleSeal(Exception):
    """Not stored: it was sealed under a key that rotation replaces. The new key's id is the argument."""


class AcceptStore(Protocol):
    """Accepting: many changes in one commit."""

    async def accept(self, items: Sequence[NewChange], judge: Judge) -> list[Verdict]:
        """Judge and store ``items`` in order, all in one commit, each with its audit records.

        Raises ``StoreFull`` (nothing stored) or ``StoreLost``.
        """

    def lane(self, org: str) -> str:
        """Changes of orgs with the same lane may share a commit; of others, none waits for another's."""

    async def backlog(self, org: str, most: int) -> int:
        """How many changes of ``org`` are live; of more than ``most``, ``most``. It holds up no accept."""


@dataclass(frozen=True, slots=True)
class OrgState:
    """What delivery remembers of an org. Times are epoch seconds."""

    paused: str | None = None  # "operator", or the code for which delivery paused itself
    blocked_until: float = 0.0  # told by Retry-After


@dataclass(frozen=True, slots=True)
class Due:
    """An org at one moment."""

    state: OrgState
    changes: Sequence[Change]
    next_at: float | None  # when another live change becomes due; epoch seconds


@dataclass(frozen=True, slots=True)
class Delivered:
    """What was last brought to a resolved user."""

    change_id: str
    resolved_id: str  # with the change's id, what the verifier is sealed to
    version: str | None
    verifier: bytes | None  # sealed


@dataclass(frozen=True, slots=True)
class Standing:
    """A change at the moment its user was resolved, with what stands in its way."""

    change: Change | None  # None: it is no longer live, or is being sent
    intent_at: float | None  # when a send began that may still be executed; epoch seconds
    delivered: Delivered | None


class NotOwner(Exception):
    """Another worker owns the org."""


MayNotTouch = Callable[[str, Sequence[str]], bool]
"""Whether a source may not touch the user that has these names (its id, its userNames)."""


def anybody(source: str, names: Sequence[str]) -> bool:
    """A ``MayNotTouch``: every source may touch every user."""
    return False


class DeliveryStore(Protocol):
    """Delivery: one owner of an org works through its due changes.

    What an earlier owner still has under way may be settled, since it is the truth about its own try; it can
    begin nothing any more.
    """

    async def take(self, org: str) -> OrgState:
        """Begin to deliver: an earlier owner begins no write any more. Raises ``NotOwner``."""

    async def due(self, org: str, now: float, limit: int, busy: Sequence[str]) -> Due:
        """How the org stands, and what is due: people before bulk, longest waiting first, not ``busy``.

        Where ``limit`` leaves none of bulk, a few are added.
        """

    async def due_count(self, org: str, now: float, most: int, busy: Sequence[str], *, bulk: bool) -> int:
        """How many of the people's changes, or of ``bulk``, are due and not ``busy``; of more, ``most``."""

    async def due_of(self, org: str, now: float, keys: Sequence[str]) -> list[Change]:
        """What is due of the references with these keys."""

    async def rebase(self, org: str, now: float, by: float) -> int:
        """The clock went back ``by`` seconds, to ``now``: so do times that it told and are to come; how many.

        None where the org is another owner's.
        """

    async def resolve(
        self, change_id: str, resolved_id: str, now: float, barred: MayNotTouch = anybody
    ) -> Standing:
        """Write down who the user is (once), supersede older changes of the same resolved user.

        A change whose source may not touch the user will be refused, and supersedes none.
        """

    async def begin(
        self, change_id: str, version: str | None, now: float, block: float, barred: MayNotTouch = anybody
    ) -> Change | float | None:
        """Commit the intent to write.

        Returns the change with its sealed password, or the epoch second until which another send to the
        user blocks it, or None when it is not live and newest any more, or the org is not ours or paused by
        an operator.
        """

    async def settle(
        self, change: Change, outcome: Outcome, nxt: Next, now: float, verifier: bytes | None = None
    ) -> Change:
        """Commit what became of a try: state, erasure, verifier, audit, all at once.

        Without ``verifier``, that of an older password is dropped all the same.
        """

    async def add_verifier(self, change: Change, verifier: bytes) -> None:
        """The sealed ``verifier`` of a change that was settled without; nothing unless it was delivered last.

        Raises ``StaleSeal``.
        """

    async def expire(self, org: str, now: float) -> int:
        """End changes older than their time to live; how many."""

    async def org_state(self, org: str) -> OrgState:
        """The org's state now."""

    async def requests_since(self, org: str, since: float) -> list[float]:
        """When requests to the org's target were sent after ``since``, at the latest, as far as is known."""

    async def set_org(
        self, org: str, paused: str | None, blocked_until: float | None, actor: str, now: float
    ) -> None:
        """An operator pauses or resumes an org, with its audit record when the pause changed.

        ``blocked_until`` None leaves the target's wait as it is. Without pause and wait, no change waits for
        the target any longer.
        """

    async def note_health(
        self, org: str, was: str | None, paused: str | None, blocked_until: float, now: float
    ) -> None:
        """What delivery found out: pause or resume an org that stands as it ``was``, never against a person.

        The target's wait becomes ``blocked_until`` where that is later; 0.0 leaves it.
        """

    async def recover(self, org: str, now: float, block: float, busy: Sequence[str] = ()) -> int:
        """Put changes whose intent was left unfinished back in line, but for the ids in ``busy``; how many.

        ``block`` seconds after its intent a change may be tried again, its outcome being in doubt.
        """

    async def hold(self, org: str, now: float) -> int:
        """Park some of what would be sent by itself (after a back-up was restored); how many.

        0: nothing is left. For an owner that sends nothing yet: what was being sent is parked as well.
        """

    async def wake(self, org: str, codes: Collection[str], now: float) -> int:
        """Make due at once what is pending with an error among ``codes``; how many."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A process that delivers."""

    id: str  # new with every start
    name: str  # host and process, for people


@dataclass(frozen=True, slots=True)
class Roll:
    """Who delivers what. ``owners``: the worker that owns each org; None where nobody alive does."""

    alive: Mapping[str, str]  # names of workers by id, the one that asks among them
    owners: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class OrgNews:
    """An org that is not idle. Times are epoch seconds."""

    state: OrgState
    due: bool  # a change may be tried
    late: bool  # the time to live of a change ran out


class LeaseStore(Protocol):
    """Which worker owns which org, for a time that it must renew."""

    async def beat(self, worker: Worker, now: float, lease: float) -> Roll:
        """Say that ``worker`` is alive. One that was not seen for ``lease`` seconds owns nothing any more."""

    async def claim(self, worker: Worker, orgs: Sequence[str], now: float, lease: float) -> list[str]:
        """Become the owner of those of ``orgs`` that nobody alive owns; which these are."""

    async def release(self, worker: Worker, orgs: Sequence[str]) -> None:
        """Give up ``orgs``."""

    async def leave(self, worker: Worker) -> None:
        """Give up everything."""

    async def news(self, now: float) -> dict[str, OrgNews]:
        """All orgs that are not idle: something is due, or the org is paused or asked to wait."""


@dataclass(frozen=True, slots=True)
class Caller:
    """An access key's holder."""

    id: str
    name: str
    role: str  # "source", "operator" or "metrics"
    orgs: tuple[str, ...]  # empty: all
    user_template: str | None = None
    created_at: float = 0.0
    revoked_at: float | None = None
    stopped_at: float | None = None  # it sent more in an hour than it may; until an operator resumes it
    rules: SourceRules = field(default_factory=SourceRules)

    def may_use(self, org: str) -> bool:
        """Whether ``org`` is one of its orgs."""
        return not self.orgs or org in self.orgs


class AccessStore(Protocol):
    """Access keys, kept as SHA-256 of their secret."""

    async def add_key(self, caller: Caller, secret_sha256: bytes, now: float) -> None:
        """Store a new key. Raises ``NameTaken``."""

    async def keys(self) -> list[tuple[Caller, bytes]]:
        """All keys, revoked ones too."""

    async def revoke(self, name: str, actor: str, now: float) -> bool:
        """Revoke all keys of ``name``; whether there was one."""

    async def resume(self, name: str, actor: str, now: float) -> bool:
        """Let the source ``name`` send again, its hour beginning anew; whether it was stopped."""


class NameTaken(Exception):
    """An unrevoked key of that name exists."""


class LookupStore(Protocol):
    """Questions of help desks, and what operators do."""

    async def change(self, change_id: str) -> Change | None:
        """One change, or None."""

    async def changes(
        self,
        *,
        org: str | None = None,
        user: str | None = None,
        states: Sequence[State] = (),
        since: float | None = None,
        limit: int = 50,
        before: tuple[float, str] | None = None,
    ) -> list[Change]:
        """Changes, newest first; ``before`` is (accepted_at, id) of the last one of the page before.

        ``user`` is an id or a userName: then, once one of its changes was resolved, also what came by the id
        that it was resolved to, or by another name of that.
        """

    async def operate(self, change_id: str, act: str, actor: str, now: float) -> Change | None:
        """``act`` is "retry" or "cancel". None: no such change. Raises ``NotNow`` when it is not allowed."""

    async def delivered(self, org: str, user: Reference) -> Delivered | None:
        """What was last delivered to ``user``, by id or userName."""

    async def key_ids(self) -> set[str]:
        """Ids of the sealing keys that stored values need."""


class PassStore(Protocol):
    """What is passed on to a target for others: audited, and counted."""

    async def intend(self, org: str, record: Record, most_an_hour: int | None) -> Stopped | None:
        """Write down what is about to be sent, and count it with the changes of its source, ``record.actor``.

        One transaction. ``Stopped``: the source has sent so many in an hour, and nothing may be sent.
        """

    async def note_ended(self, org: str, record: Record) -> None:
        """Write down what came of it."""


class TrailMoved(Exception):
    """The records are not there as they were read: somebody else deleted or altered some."""


class AuditStore(Protocol):
    """The audit trail. Reading holds up no accept or delivery, however long it takes."""

    async def heads(self) -> dict[str, Head]:
        """The newest link of each org's chain."""

    async def links(self, org: str, after: int, limit: int) -> list[Link]:
        """Up to ``limit`` records, in order, from ``after`` (exclusive).

        Raises ``ValueError`` when the database holds something that is no record.
        """

    async def newest(self, org: str, kind: str, up_to: int) -> Link | None:
        """The newest record of ``kind``, one of those about the trail itself, up to number ``up_to``."""

    async def note_exported(self, org: str, head: Head, actor: str, now: float) -> None:
        """Write down that a file holds the records up to ``head``."""

    async def prune(self, org: str, after: Head, gone: Sequence[bytes], actor: str, now: float) -> Head:
        """Delete the oldest records, those behind ``after``, and write down where the chain begins now.

        One transaction. Raises ``TrailMoved`` unless they are the oldest there are, with the MACs ``gone``.
        """


@dataclass(frozen=True, slots=True)
class SealedRow:
    """A sealed value in its row: a change's password, or the verifier of what was last delivered."""

    key: tuple[str, ...]  # of the row, as the store needs it
    binding: Binding
    sealed: bytes


class ResealStore(Protocol):
    """What rotation needs of the store."""

    async def sealing_key(self) -> str | None:
        """The id of the newest key that a rotation made; None while no key was rotated."""

    async def retire(self, old: Collection[str], key_id: str, actor: str, now: float) -> None:
        """Store nothing any more that is sealed under ``old``, which ``key_id`` replaces; audited.

        Raises ``StaleSeal`` when the newest key is neither: another machine rotates too.
        """

    async def sealed_otherwise(self, key_id: str) -> list[tuple[str, ...]]:
        """Keys of the rows whose sealed values need another key than ``key_id``."""

    async def reseal(
        self, rows: Sequence[tuple[str, ...]], key_id: str, anew: Callable[[SealedRow], bytes | None]
    ) -> int:
        """Replace the sealed values of ``rows`` that still need another key by what ``anew`` gives.

        None leaves a value as it is. All in one transaction; how many were replaced.
        """

    async def note_retired(self, key_ids: Collection[str], actor: str, now: float) -> None:
        """Write down that ``key_ids`` are not needed any more and are destroyed now."""


class RetentionStore(Protocol):
    """What must not be kept for good. Each call is one short transaction."""

    async def prune_changes(self, ended_before: float, most: int) -> int:
        """Delete up to ``most`` changes that ended before then (epoch seconds); how many were deleted."""

    async def prune_idempotency(self, made_before: float, most: int) -> int:
        """Delete up to ``most`` Idempotency-Keys that were used before then and whose change has ended."""

    async def prune_access(self, revoked_before: float, most: int) -> int:
        """Delete up to ``most`` access keys that were revoked before then."""

    async def forget_user(
        self, org: str, user: Reference, actor: str, now: float, block: float
    ) -> "Forgotten | None":
        """Delete what is kept of a user, but for the audit trail, which says that it was done.

        None: nothing is kept of such a user. Raises ``NotNow`` while a change of the user is live, or a send
        to it may still be executed (``block`` seconds after its intent).
        """


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was deleted."""

    references: int
    changes: int
    verifier: bool


@dataclass(frozen=True, slots=True)
class OrgFigures:
    """What the store knows of an org at one moment. Times are epoch seconds."""

    waiting: int  # pending or delivering
    parked: int
    oldest_waiting_since: float | None  # of those pending or delivering
    paused: str | None
    head_seq: int
    blocked_until: float = 0.0  # told by Retry-After


class FiguresStore(Protocol):
    """Questions of whoever watches the gateway."""

    async def orgs(self) -> dict[str, OrgFigures]:
        """The figures of each org, without holding up accepts or deliveries."""

    async def stopped_sources(self) -> set[str]:
        """Names of the sources that sent more in an hour than they may."""


class NotNow(Exception):
    """The change is in a state in which operators cannot retry or cancel it; the state is its argument."""
