"""The gateway as a hook sees it: ask, push, and hand over what had to wait.

Order. While letters wait, a new change joins them, and is handed over after them. All changes, by either way,
carry times of one clock, so the gateway can tell which is newer (docs/http-api.md, ``changedAt``). A clock
that is minutes off the gateway's would refuse the newest password: then a direct push goes without a time.
"""

import email.utils
import json
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote

from passferry.client import Reply
from passferry.domain.accepting import CLOCK_TOLERANCE
from passferry.domain.password import Password
from passferry.hand_over import Letter, seal
from passferry.hooks import journal
from passferry.hooks.public_key import PublicKey, PublicKeyFile
from passferry.hooks.settings import HookSettings
from passferry.hooks.spool import Spool, SpoolUnusable, Waiting
from passferry.hooks.verdicts import (
    LATER,
    LOST,
    UNCHECKED,
    Answer,
    Verdict,
    Wait,
    of_change,
    of_check,
)
from passferry.hooks.wire import Unreachable, Wire

__all__ = ["Answer", "Flushed", "Gateway", "SourceChange", "Verdict"]

TIME_TO_LIVE = 72 * 3600.0
"""Seconds that a letter waits at most, unless the gateway was never there to be asked about it."""
AWAY_SECONDS = 10.0
"""So long after a call that nobody answered, a patient push is spooled without a try."""
SET_BACK = CLOCK_TOLERANCE / 2
"""Seconds by which a clock may be set back while letters wait, and they keep the order of what they hold."""
_JSON = {"Content-Type": "application/json"}
_OCTETS = {"Content-Type": "application/octet-stream", "Prefer": "respond-async"}


@dataclass(frozen=True, slots=True)
class SourceChange:
    """One new password, as a source tells of it."""

    user: str  # as the source names it; the gateway completes short names
    password: Password
    changed_at: float | None  # epoch seconds when the source knows it, else None
    key: str  # the Idempotency-Key: 1-255 visible ASCII, never derived from the password alone
    age: float = 0.0  # without changed_at: seconds ago that it was made, by a clock that never jumps


@dataclass(slots=True)
class Flushed:
    """What came of the letters that waited."""

    accepted: int = 0
    older: int = 0
    refused: int = 0
    set_aside: int = 0  # broken, or not taken within their time to live
    left: int = 0
    why: str = ""  # what keeps those that are left
    answers: dict[str, Answer] = field(default_factory=dict, repr=False)  # by file name

    def note(self, letter: Waiting, answer: Answer) -> None:
        """Count one that is settled."""
        self.answers[letter.path.name] = answer
        self.accepted += answer.verdict is Verdict.ACCEPTED
        self.older += answer.verdict is Verdict.OLDER
        self.refused += answer.verdict is Verdict.REFUSED


class Gateway:
    """One gateway, for one hook. A call takes ``settings.seconds`` at most, and the disk's time."""

    def __init__(
        self,
        settings: HookSettings,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``now`` gives epoch seconds, ``monotonic`` seconds that never jump."""
        self.settings, self._now, self._monotonic = settings, now, monotonic
        self.wire = Wire(settings.url, settings.key, settings.ca_file)
        self.spool = Spool(settings.spool, settings.spool_most)
        self.public_key = PublicKeyFile(settings.spool)
        self._away_until = -math.inf  # by the monotonic clock
        self._ahead = -math.inf  # seconds from that clock to the time that letters carry

    def check(self, user: str, password: Password) -> Answer:
        """The policy's verdict: ``ACCEPTED`` or ``REFUSED``; without one, as ``settings.when_away`` says."""
        deadline = self._monotonic() + self.settings.seconds
        body = json.dumps({"userId": user, "password": password.reveal()}).encode()
        try:
            reply = self._call(self._path("policy/check"), self.settings.seconds, body, _JSON)
            found, why = of_check(reply.status, reply.body), _why(reply)
        except Unreachable as error:
            found, why = None, str(error)
        if found is not None:
            self._refresh_quietly(deadline)  # so that what follows can be spooled
            return found
        allowed = self.settings.when_away == "allow"
        return Answer(Verdict.ACCEPTED if allowed else Verdict.REFUSED, "" if allowed else UNCHECKED, why)

    def push(self, change: SourceChange, *, patient: bool = False) -> Answer:
        """Hand ``change`` over, or spool it.

        ``patient`` is who lives on and calls ``flush`` now and then: just after a call that nobody answered,
        their change is spooled in the disk's time, since others wait behind it.
        """
        deadline = self._monotonic() + self.settings.seconds
        now, earliest = self._after_all_letters()
        at = max(now - change.age, earliest) if change.changed_at is None else change.changed_at
        later = patient and self._monotonic() < self._away_until
        if self.spool.is_empty() and not later:
            settled, why = self._push_now(change, at, deadline)
            if settled is not None:
                return settled
            return self._put(change, at, now, why)[0]
        why = "the gateway did not answer moments ago" if later else "others wait before it"
        answer, letter = self._put(change, at, now, why)
        if letter is None:  # no letter can be written: what is left is to try at once
            settled, why = self._push_now(change, at, deadline)
            return settled or Answer(Verdict.LOST, LOST, f"{answer.why}; {why}")
        if later:
            return answer
        with suppress(SpoolUnusable, OSError):
            flushed = self.flush(deadline - self._monotonic())
            return flushed.answers.get(letter.path.name, Answer(Verdict.SPOOLED, LATER, flushed.why))
        return answer

    def flush(self, seconds: float) -> Flushed:
        """Hand over what waits, oldest first, for at most ``seconds``. Raises ``SpoolUnusable``."""
        deadline = self._monotonic() + seconds
        done = Flushed()
        self.spool.check()
        self.spool.sweep(self._now())
        with self.spool.alone(max(0.0, seconds)) as ours:
            if ours:
                self._flush(done, deadline)
            else:
                done.why = "another process is handing letters over"
        done.left = len(self.spool.waiting())
        return done

    def refresh_key(self, deadline: float, *, force: bool = False) -> None:
        """Get the gateway's public key, if it is time to (``force``: at once). Raises ``Unreachable``."""
        if force or self.public_key.is_old(self._now()):
            reply = self.wire.call("GET", "/sync/key", deadline - self._monotonic())
            key = PublicKey.of(reply.body) if reply.status == 200 else None
            if key is None:
                raise Unreachable(f"the gateway gave no public key: {_why(reply)}")
            self.spool.check()
            self.public_key.keep(key)

    # --- one change --------------------------------------------------------------------------

    def _after_all_letters(self) -> tuple[float, float]:
        """The time now, and the earliest for a change that comes now; epoch seconds.

        While letters wait, a clock that was set back a little is not followed. One that was set back by more
        stands still at the newest letter until it has caught up: the gateway refuses what is dated far ahead.
        """
        now, beside = self._now(), self._monotonic()
        newest = earliest = -math.inf
        with suppress(SpoolUnusable):
            if not self.spool.is_empty():
                newest = max((each.since for each in self.spool.waiting()), default=-math.inf)
        if newest >= now + TIME_TO_LIVE:
            newest = -math.inf  # one from days ahead is not followed
        if newest > -math.inf:
            now = max(now, min(beside + self._ahead, now + SET_BACK))
        self._ahead = now - beside
        if newest >= now:
            now = earliest = newest + 1e-6
        return now, earliest

    def _push_now(self, change: SourceChange, at: float, deadline: float) -> tuple[Answer | None, str]:
        """The answer, or None and why there is none. ``at`` is the time of ``change``."""
        try:
            reply = self._send(change, at, deadline)
            if self._is_about_a_wrong_clock(reply, own=change.changed_at is None):
                reply = self._send(change, None, deadline)
        except Unreachable as error:
            return None, str(error)
        found = of_change(reply.status, reply.body)
        if isinstance(found, Wait):
            return None, _why(reply)
        self._refresh_quietly(deadline)
        return found, ""

    def _send(self, change: SourceChange, at: float | None, deadline: float) -> Reply:
        body = {"userId": change.user, "password": change.password.reveal()}
        if at is not None:
            body["changedAt"] = rfc3339(at)
        headers = _JSON | {"Prefer": "respond-async", "Idempotency-Key": change.key}
        left = deadline - self._monotonic()
        return self._call(self._path("sync/password"), left, json.dumps(body).encode(), headers)

    def _call(self, path: str, seconds: float, body: bytes, headers: dict[str, str]) -> Reply:
        """POST, and remember whether anybody answered. Raises ``Unreachable``."""
        try:
            reply = self.wire.call("POST", path, seconds, body, headers)
        except Unreachable:
            if seconds > self.settings.seconds / 2:  # else there was hardly time to answer
                self._away_until = self._monotonic() + AWAY_SECONDS
            raise
        self._away_until = -math.inf
        return reply

    def _is_about_a_wrong_clock(self, reply: Reply, *, own: bool) -> bool:
        """Whether the time of a change was refused, and was none. ``own``: this machine's clock gave it."""
        code = reply.body.get("code")
        if code == "changed.at.future":
            return True
        date = email.utils.parsedate_tz(reply.headers.get("date", ""))
        if not own or code != "change.stale" or date is None:
            return False
        return email.utils.mktime_tz(date) - self._now() > CLOCK_TOLERANCE

    def _put(self, change: SourceChange, at: float, now: float, why: str) -> tuple[Answer, Waiting | None]:
        """Spool ``change`` of the time ``at``, because of ``why``."""
        key = self.public_key.read()
        if key is None:
            lost = "there is no public key of the gateway to seal to: run the hook's --self-test once"
            return Answer(Verdict.LOST, LOST, f"{why}; {lost}"), None
        if (age := self.public_key.age(self._now())) > TIME_TO_LIVE:
            hours = f"{age / 3600:.0f} hours ago"
            journal.complain("spool", f"sealed to a key that the gateway gave {hours}: it may be gone by now")
        letter = Letter(change.user, change.password, rfc3339(at), change.key, self.settings.org)
        problem = "the public key of the gateway cannot be used"
        try:
            put = self.spool.put(seal(key.public, letter.plaintext()), now)
            return Answer(Verdict.SPOOLED, LATER, why), put
        except SpoolUnusable as error:
            problem = str(error)
        except ValueError:
            pass
        return Answer(Verdict.LOST, LOST, f"{why}; {problem}"), None

    # --- what waits --------------------------------------------------------------------------

    def _flush(self, done: Flushed, deadline: float) -> None:
        """Until nothing new is there, nothing can be handed over, or the time is over."""
        seen: set[str] = set()
        while fresh := [each for each in self.spool.waiting() if each.path.name not in seen]:
            for letter in sorted(fresh, key=Waiting.was_put_off):  # many of those would take all the time
                seen.add(letter.path.name)
                if not self._hand_over(letter, done, deadline):
                    return
        self._refresh_quietly(deadline)

    def _hand_over(self, letter: Waiting, done: Flushed, deadline: float) -> bool:
        """Settle one letter; whether to go on with the next."""
        content = letter.read()
        if content is None:
            return True
        try:
            left = min(deadline - self._monotonic(), max(2.0, self.settings.seconds))
            reply = self._call("/sync/sealed", left, content, _OCTETS)
        except Unreachable as error:
            done.why = str(error)
            return False
        return self._settle(letter, reply, done)

    def _settle(self, letter: Waiting, reply: Reply, done: Flushed) -> bool:
        found = of_change(reply.status, reply.body)
        if isinstance(found, Answer):
            self.spool.drop(letter)
            done.note(letter, found)
            if found.verdict is not Verdict.ACCEPTED:
                journal.note_letter(letter.path.name, found.verdict.value, found.why)
        elif found is Wait.NEVER or (found is Wait.THIS and self._is_over(letter)):
            self.spool.set_aside(letter, self._now())
            done.set_aside += 1
            done.answers[letter.path.name] = Answer(Verdict.LOST, LOST, _why(reply))
            journal.note_letter(letter.path.name, "set aside", _why(reply))
        else:
            done.why = _why(reply)
            if found is Wait.THIS:
                letter.put_off()
        return found is not Wait.ALL

    def _is_over(self, letter: Waiting) -> bool:
        """Whether its time to live is over; also if it was written that far ahead, by a wrong clock."""
        return abs(self._now() - letter.since) > TIME_TO_LIVE

    def _refresh_quietly(self, deadline: float) -> None:
        with suppress(Unreachable, SpoolUnusable, OSError):  # the key is for another time
            self.refresh_key(deadline)

    def _path(self, rest: str) -> str:
        org = self.settings.org
        return f"/{rest}" if org is None else f"/orgs/{quote(org, safe='')}/{rest}"


def _why(reply: Reply) -> str:
    code = "".join(sign for sign in str(reply.body.get("code", "")) if sign.isalnum() or sign == ".")[:60]
    return f"the gateway answered {reply.status} {code}".rstrip()


def rfc3339(moment: float) -> str:
    """``moment``, epoch seconds, in UTC with microseconds."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
