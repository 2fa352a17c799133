"""Passwords that slapd is about to write: kept in memory until it says how that ended, bounded and wiped."""

from dataclasses import dataclass, field
from math import inf
from threading import Lock

from passferry.hooks.slapd_sock import Key

MOST = 1000
SECONDS = 60.0
"""So long a result is waited for. One that fails early, at a wrong old password, gets none."""


@dataclass(slots=True)
class Pending:
    """One new password.

    ``until``, ``made``: seconds of a clock that never jumps; the latter when slapd reported that it was
    written, and until then when it was about to be. ``away``: why slapd could not be asked about it, if so.
    ``failed``: a failure was reported under its number, most likely its own.
    """

    dn: str
    user: str
    secret: bytearray = field(repr=False)
    until: float = 0.0
    made: float = 0.0
    away: str = ""
    failed: bool = False

    def wipe(self) -> None:
        """Overwrite the password."""
        self.secret[:] = bytes(len(self.secret))


@dataclass(frozen=True, slots=True)
class Ticket:
    """Which operation of which slapd: a new one counts connections from the start again."""

    pid: int
    key: Key


class Held:
    """At most ``MOST`` of them; safe to use by several threads."""

    def __init__(self) -> None:
        self._held: dict[Ticket, Pending] = {}
        self._unreported: list[Pending] = []
        self._lock = Lock()

    def __len__(self) -> int:
        """How many a result is awaited of."""
        with self._lock:
            return sum(not pending.failed for pending in self._held.values())

    def keep(self, ticket: Ticket, pending: Pending, now: float) -> bool:
        """Keep it until ``take``, or for ``SECONDS``; False when there are too many."""
        with self._lock:
            if len(self._held) + len(self._unreported) >= MOST:
                self._wipe_failed()
            if len(self._held) + len(self._unreported) >= MOST:
                return False
            self._give_up(ticket)
            pending.until, pending.made = now + SECONDS, now
            self._held[ticket] = pending
            return True

    def take(self, ticket: Ticket, now: float) -> Pending | None:
        """What is held under ``ticket``, which the caller has to wipe."""
        with self._lock:
            self._sweep(now)
            return self._held.pop(ticket, None)

    def fail(self, ticket: Ticket, now: float) -> None:
        """Note a failure under ``ticket``. A client may use one number twice: a success may still follow."""
        with self._lock:
            self._sweep(now)
            if ticket in self._held:
                self._held[ticket].failed = True

    def unreported(self, now: float) -> list[Pending]:
        """Those of which nothing was heard in time, or whose number was used again; the caller wipes them.

        They may have been written all the same.
        """
        with self._lock:
            self._sweep(now)
            given, self._unreported = self._unreported, []
            return given

    def _sweep(self, now: float) -> None:
        self._wipe_failed(now)
        for ticket in [ticket for ticket, pending in self._held.items() if pending.until <= now]:
            self._give_up(ticket)

    def _wipe_failed(self, now: float = inf) -> None:
        for ticket, pending in list(self._held.items()):
            if pending.failed and pending.until <= now:
                self._held.pop(ticket).wipe()

    def _give_up(self, ticket: Ticket) -> None:
        pending = self._held.pop(ticket, None)
        if pending is not None:
            self._unreported.append(pending)
