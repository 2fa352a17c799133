"""Between slapd and the gateway: the verdict before a password is written, the hand-over after it was.

slapd waits for the verdict, and for nothing else. A change goes to the gateway once slapd reported success
*and* takes the new password for that user (``ldap_bind`` has the reason), in the order of the reports.
"""

import queue
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event
from uuid import uuid4

from passferry.domain.password import Password
from passferry.hooks import journal
from passferry.hooks.gateway import Gateway, SourceChange
from passferry.hooks.held import MOST, Held, Pending, Ticket
from passferry.hooks.ldap_bind import Bound, bound, reachable
from passferry.hooks.openldap_intent import NO_EXTENSIONS, REFUSED, SET_UP, NewPassword, Refuse, intent, reply
from passferry.hooks.slapd_sock import EXOP, NotBlock, Other, Result, read_block
from passferry.hooks.spool import SpoolUnusable
from passferry.hooks.verdicts import Verdict
from passferry.hooks.wire import Unreachable

BUSY, UNAVAILABLE = 51, 52
AGAIN_SECONDS = 1.0
"""Between two tries of what did not work."""
TRIES = 10
"""How often a password is tried of which slapd gives no verdict, or which a defect keeps here."""
FLUSH_SECONDS = 10.0
"""So often what is spooled is handed over, while nothing else is to be done."""


class Desk:
    """Answers blocks, by any number of threads; ``work`` hands over, in one thread of its own."""

    def __init__(
        self,
        gateway: Gateway,
        ldapi: Path,
        user_attribute: str,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.held = Held()
        self.closing = Event()
        self._gateway, self._ldapi, self._attribute = gateway, ldapi, user_attribute
        self._monotonic = monotonic
        self._confirmed: queue.Queue[Pending] = queue.Queue()
        self._flushed = monotonic()
        self._lost = 0

    # --- while slapd waits -------------------------------------------------------------------

    def answer(self, data: bytes, pid: int) -> bytes:
        """What to tell the slapd of that process id; nothing for a result."""
        try:
            block = read_block(data)
        except NotBlock as error:
            return self._not_read(data, str(error))
        if isinstance(block, Result):
            self._ended(pid, block)
            return b""
        if isinstance(block, Other):
            return reply(None)
        wanted = intent(block, self._attribute)
        if not isinstance(wanted, NewPassword):
            return reply(wanted)
        if block.key is None:
            journal.complain("openldap", NO_EXTENSIONS)
            return reply(Refuse(SET_UP, NO_EXTENSIONS))
        return reply(self._verdict(wanted) or self._keep(Ticket(pid, block.key), wanted))

    def _not_read(self, data: bytes, why: str) -> bytes:
        """Only what may be about a password is refused."""
        lower = data.lower()
        if b"userpassword" not in lower and EXOP.encode() not in lower:
            return reply(None)
        journal.complain("openldap", f"slapd sent what cannot be read: {why}")
        return reply(Refuse(SET_UP, "the change of a password could not be read"))

    def _verdict(self, wanted: NewPassword) -> Refuse | None:
        if self.closing.is_set():
            return Refuse(BUSY, "passwords cannot be changed for a moment: try again")
        if not reachable(self._ldapi):
            journal.complain("openldap", f"no slapd answers at {self._ldapi}: start it with -h 'ldapi:/// …'")
            return Refuse(UNAVAILABLE, "passwords cannot be changed: slapd is not reached over ldapi")
        answer = self._gateway.check(wanted.user, Password(wanted.value.decode()))
        journal.note_check("openldap", answer)
        return Refuse(REFUSED, answer.message) if answer.verdict is Verdict.REFUSED else None

    def _keep(self, ticket: Ticket, wanted: NewPassword) -> Refuse | None:
        pending = Pending(wanted.dn, wanted.user, bytearray(wanted.value))
        waiting = self._confirmed.qsize()
        if waiting < MOST and self.held.keep(ticket, pending, self._monotonic()):
            return None
        pending.wipe()
        return Refuse(BUSY, "too many passwords are being changed: try again")

    def _ended(self, pid: int, result: Result) -> None:
        if result.key is None:
            return
        ticket, now = Ticket(pid, result.key), self._monotonic()
        if result.code != 0:
            self.held.fail(ticket, now)
        elif (pending := self.held.take(ticket, now)) is not None:
            pending.made = now
            self._confirmed.put(pending)

    # --- afterwards --------------------------------------------------------------------------

    def work(self, stopped: Event) -> None:
        """Hand over until ``stopped``, and nothing is left to do. Whatever goes wrong, it goes on."""
        _safely(self._refresh)  # so that the first outage finds a key to seal to
        while True:
            try:
                pending = self._confirmed.get(timeout=AGAIN_SECONDS / 4)
            except queue.Empty:
                self._take_up_unreported()
                if not stopped.is_set():
                    self._idle()
                elif self._confirmed.empty():
                    return
                continue
            self._one(pending, stopped)
            if pending.away and not stopped.is_set():
                self._idle()
                stopped.wait(AGAIN_SECONDS)

    def _one(self, pending: Pending, stopped: Event) -> None:
        """Settle it; while slapd cannot be asked about it, it goes to the end of the queue."""
        again = False
        try:
            self._settle(pending, stopped)
            again = bool(pending.away) and not stopped.is_set()
            if again:
                self._confirmed.put(pending)
            elif pending.away:
                journal.complain("openldap", f"not handed over: {pending.dn!a}: slapd: {pending.away}")
                self._lost += 1
        finally:
            if not again:
                pending.wipe()
            self._confirmed.task_done()

    def left(self) -> int:
        """How many were not handed over: those that wait, the one that is at it, those that were given up."""
        return self._confirmed.unfinished_tasks + self._lost

    def _take_up_unreported(self) -> None:
        for pending in self.held.unreported(self._monotonic()):
            journal.complain("openldap", f"slapd reported nothing about {pending.dn!a}: it is asked")
            self._confirmed.put(pending)

    def _idle(self) -> None:
        now = self._monotonic()
        if now - self._flushed < FLUSH_SECONDS:
            return
        self._flushed = now
        if not self._gateway.spool.is_empty():
            _safely(self._flush)
        _safely(self._refresh)

    def _flush(self) -> None:
        try:
            self._gateway.flush(self._gateway.settings.seconds)
        except (SpoolUnusable, OSError) as error:
            journal.complain("openldap", f"what is spooled cannot be handed over: {error}")

    def _refresh(self) -> None:
        """Ask for the gateway's public key, if it is an hour old."""
        with suppress(Unreachable, SpoolUnusable, OSError):  # it is for another time
            self._gateway.refresh_key(self._monotonic() + self._gateway.settings.seconds)

    def _settle(self, pending: Pending, stopped: Event) -> None:
        key = str(uuid4())
        for _ in range(TRIES):
            if _safely(partial(self._hand_over, pending, key, stopped)):
                return
            if stopped.wait(AGAIN_SECONDS):
                break
        journal.complain("openldap", f"not handed over: the password of {pending.user!a}")
        pending.away = ""
        self._lost += 1

    def _hand_over(self, pending: Pending, key: str, stopped: Event) -> None:
        if not self._is_current(pending, stopped):
            return
        password = Password(pending.secret.decode())
        while True:
            age = self._monotonic() - pending.made  # it may have waited for long: it is no newer for that
            change = SourceChange(pending.user, password, None, key, age)
            answer = self._gateway.push(change, patient=True)
            journal.note("openldap", pending.user, answer)
            if answer.verdict is not Verdict.LOST:
                return
            if stopped.wait(AGAIN_SECONDS):
                self._lost += 1
                return

    def _is_current(self, pending: Pending, stopped: Event) -> bool:
        """Whether slapd now takes the password for that user."""
        why = ""
        for _ in range(TRIES):
            found, why = bound(self._ldapi, pending.dn, bytes(pending.secret))
            if found is Bound.AWAY:
                if not pending.away:
                    journal.complain(
                        "openldap", f"slapd was asked about {pending.dn!a}: {why}; it is asked again"
                    )
                pending.away = why
                return False
            pending.away = ""
            if found is Bound.NO:
                journal.complain("openldap", f"not handed over: slapd does not take it for {pending.dn!a}")
            if found is not Bound.UNKNOWN:
                return found is Bound.YES
            if stopped.wait(AGAIN_SECONDS):
                break
        journal.complain("openldap", f"not handed over: slapd was asked about {pending.dn!a}, and {why}")
        return False


def _safely(do: Callable[[], None]) -> bool:
    """Whether ``do`` came to its end: a defect is in the log, by its kind alone."""
    try:
        do()
    except Exception as error:  # noqa: BLE001  # it must not end the thread that hands over
        journal.complain("openldap", f"a defect: {type(error).__name__}; it is tried again")
        return False
    return True
