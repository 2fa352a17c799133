"""What the use cases need from the outside, named by role. Each port has one contract test suite."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from passferry.domain.answers import Answer
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.password import Password
from passferry.domain.scim import User
from passferry.domain.scim_query import Query


class Clock(Protocol):
    """The only source of time; waiting is the event loop's. Tests move both."""

    def now(self) -> float:
        """Epoch seconds; may jump when the machine's clock is set."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start; never jumps."""


# --- secrets ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Binding:
    """What a sealed value belongs to; it opens only under the same four."""

    purpose: str  # "password" or "verifier"
    org: str
    user: str
    change_id: str


class SealBroken(Exception):
    """The sealed value was altered, or belongs to something else."""


class UnknownKey(Exception):
    """The sealed value names a key that the ring does not hold; the key's id is its argument."""


class Sealer(Protocol):
    """Authenticated encryption at rest, and MACs, under the key ring."""

    def seal(self, plaintext: bytes, binding: Binding) -> bytes:
        """``plaintext`` (at most 65,535 bytes) sealed to ``binding`` under the active key."""

    def open(self, sealed: bytes, binding: Binding) -> bytes:
        """The plaintext. Raises ``SealBroken`` or ``UnknownKey``."""

    def mac(self, purpose: str, data: bytes) -> bytes:
        """HMAC-SHA256 of ``data`` under the ring's MAC key, separated by ``purpose``."""

    def knows(self, key_id: str) -> bool:
        """Whether the ring holds the sealing key named ``key_id`` (16 hexadecimal digits)."""

    def use(self, key_id: str) -> bool:
        """Seal under the key ``key_id`` from now on, if the ring holds it; whether it does.

        The database asks for a key that this machine's ring has as prepared only: another machine rotated.
        """

    def missing(self, needed: Collection[str] | None = None) -> frozenset[str]:
        """Ids of keys that were looked for and that the ring lacks.

        With ``needed``, those that are not in it are forgotten.
        """


class HandOverKey(NamedTuple):
    """A public key to which sources seal what they cannot hand over at once."""

    id: str  # 16 hexadecimal digits
    public: bytes  # X25519, 32 bytes


class HandOver(Protocol):
    """Opens what sources sealed to the gateway."""

    def key(self) -> HandOverKey | None:
        """The key that sources are to use from now on; None when the ring has none yet."""

    def open(self, sealed: bytes) -> bytes:
        """The plaintext. Raises ``SealBroken``, or ``UnknownKey`` when the ring has no such private key."""


class Keys(NamedTuple):
    """Ids of a ring's sealing keys: the active one, older ones, and one prepared to be the next."""

    active: str
    old: frozenset[str]
    prepared: str | None


class KeyHolder(Protocol):
    """The key ring, as rotation changes it. Steps are durable on return; errors are the adapter's."""

    def keys(self) -> Keys:
        """What is in it."""

    def prepare(self) -> str:
        """Make a new sealing key that is not active yet. Its id."""

    def advance(self) -> str:
        """Let the prepared key be the active one, or a new one where none is prepared. Its id."""

    def destroy_old(self) -> None:
        """Destroy every sealing key but the active one."""


class VerifierBroken(Exception):
    """The bytes are no verifier, or one whose cost is beyond the bounds."""


class Hasher(Protocol):
    """Argon2id verifiers (RFC 9106), computed off the event loop, a bounded number at a time."""

    async def hash(self, password: Password) -> bytes:
        """A fresh verifier of ``password``."""

    async def verify(self, verifier: bytes, password: Password) -> bool:
        """Whether ``password`` is the one ``verifier`` was made of."""


# --- the target ------------------------------------------------------------------------------


WRITE, READ, LISTED_WRITE = 0, 1, 2
RELAYED = 5
BULK_WRITE, BULK_READ, BULK_LISTED_WRITE, BULK_LIST = 10, 11, 12, 13
BULK_RELAYED = 20
"""Priorities at the gate: people before bulk, and a write follows its read at once. Writes to users of a page
let the next page go first, so that its answer is here when they are done. What others ask through us gives
way to deliveries, as ``domain/turns.py`` says."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the list of all users."""

    total: int  # users in the list
    size: int  # in this page, among them such as are not understood
    users: Sequence[User]  # active, by their own word, and with a version
    others: Sequence[User]  # who must be read singly
    seconds: float  # from its request to its answer


class Gate(Protocol):
    """Pacing as an adapter sees it: ask before each request, tell after each answer."""

    async def slot(self, priority: int) -> None:
        """Return when a request may start. Lower ``priority`` numbers go first."""

    def answered(self, status: int, headers: Mapping[str, str]) -> None:
        """Tell what the target said of its limits and clock; header names in lower case."""


class Target(Protocol):
    """Where passwords are brought to: one org of Genesys Cloud, or another SCIM 2.0 service provider.

    Reads take their own slots at the gate; a write does not, since its slot must precede the intent.
    No method raises for what the target does: that is an ``Outcome``.
    """

    async def find(self, user_name: str, priority: int = READ) -> User | Outcome | None:
        """The one user whose userName equals ``user_name``, case folded; None when no active one does."""

    async def inactive(self) -> Mapping[str, str] | Outcome:
        """All inactive users, userName (case folded) to id; empty where the target has no such list."""

    async def read(self, user_id: str, priority: int = READ) -> User | Outcome:
        """The user as it is now, whole."""

    async def page(self, start: int, priority: int) -> Page | Outcome | None:
        """The users from number ``start`` (the first is 1) on; None where there is no list to rely on."""

    def alike(self, listed: User, read: User) -> bool:
        """Whether ``listed``, of a page, shows all that a write needs of the same user as it was ``read``."""

    @property
    def conditional(self) -> bool:
        """Whether a write names the version that was read, so that it fails where the user has another."""

    async def write(self, user: User, password: Password) -> Outcome:
        """Set the password of ``user`` (as read) and nothing else; one request, never repeated."""

    def resume(self) -> None:
        """Ask for the next token at once, whatever wait its endpoint asked for."""

    async def close(self) -> None:
        """Give up connections."""


@dataclass(frozen=True, slots=True)
class Found:
    """A part of a list of resources: how many there are, and the text of each one in this part."""

    total: int
    items: Sequence[str]


class Provider(Protocol):
    """An org's SCIM service provider, for clients that speak SCIM to it through us.

    ``kind`` is ``Users``, ``Groups``, ``Schemas`` or ``ResourceTypes``. Requests are paced beside delivery's;
    what was read is kept for some seconds. An ``Outcome`` says why there is no answer; an answer may be an
    error of the target's.
    """

    @property
    def giving_way(self) -> "Provider":
        """The same for a source whose changes are bulk: its requests are, too."""

    @property
    def page(self) -> int:
        """The most resources that an answer to ``search`` has."""

    async def one(
        self, kind: str, resource_id: str, query: Query, *, fresh: bool = False
    ) -> Answer | Outcome:
        """A resource as it is now, or with ``fresh`` False as it was some seconds ago."""

    async def search(self, kind: str, query: Query) -> Found | Answer | Outcome:
        """The resources that ``query`` asks for; an answer is an error."""

    async def send(
        self, method: str, kind: str, resource_id: str | None, body: str | None, version: str | None = None
    ) -> Answer | Outcome:
        """Ask for a change, once; only if the resource still is at ``version``, where that is given."""

    def forget(self) -> None:
        """Keep nothing of what was read."""

    async def close(self) -> None:
        """Give up connections."""


class Meter(Protocol):
    """Told of what happens, to count and time it. No method waits or raises; none is told of a user."""

    def accept_ended(self, org: str, result: str, seconds: float) -> None:
        """A request to accept ended after ``seconds``: `accepted`, `replayed`, or the code of a refusal."""

    def tried(self, org: str, kind: Kind) -> None:
        """A try to deliver a change ended as ``kind``."""

    def applied(self, org: str, seconds: float) -> None:
        """A change was applied ``seconds`` after it was accepted."""

    def expired(self, org: str, changes: int) -> None:
        """The time to live of so many changes ran out."""

    def token_failed(self, org: str, kind: str) -> None:
        """A token request failed: `refused`, `throttled` or `unavailable`."""


class Unmetered:
    """A ``Meter`` that keeps nothing."""

    def accept_ended(self, org: str, result: str, seconds: float) -> None:
        """See the port."""

    def tried(self, org: str, kind: Kind) -> None:
        """See the port."""

    def applied(self, org: str, seconds: float) -> None:
        """See the port."""

    def expired(self, org: str, changes: int) -> None:
        """See the port."""

    def token_failed(self, org: str, kind: str) -> None:
        """See the port."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast an org's changes are delivered, and how many are live."""

    requests_a_minute: float
    waiting: int
