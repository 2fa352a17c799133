"""Bringing the rows of a file to a gateway: send each once, then follow its change; or only ask.

Rows are sent one after the other, so that the order of accepts is the order of the file. The gateway takes
them much faster than it delivers them, and keeps them sealed meanwhile.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import quote, urlencode

from passferry.client import Reply
from passferry.entrypoints.cli_http import Line, Unreachable
from passferry.entrypoints.csv_rows import Mistake, Row, read
from passferry.entrypoints.http_parse import rfc3339
from passferry.entrypoints.import_journal import DRY_RUN, Journal

PATIENCE = 600.0
"""Seconds for which a gateway that does not answer, or takes nothing now, is asked again."""
LONGEST_WAIT = 30.0
LOOK_EVERY = 2.0
UNENDED = 64
"""Changes in a row that have not ended, after which a look at the others is put off: they are behind."""
LOOK_AT_ALL = 15
"""Of so many looks, one is at every change."""
ENDED = frozenset({"applied", "refused", "superseded", "expired", "cancelled", "parked"})
REHEARSED = "rehearsed"
"""Here, of a pending change that is not looked at soon, since its org is in a dry run."""
OF_ONE_ROW = frozenset({400, 409, 413})
"""Statuses that say something of a row, and nothing of the others."""

_KEY_ID = re.compile("pf_[0-9a-z]{1,32}(?=_)")


class GivenUp(Exception):
    """The gateway cannot take the rest, or not now; ``hint`` says what to do. ``again``: then once more."""

    def __init__(self, what: str, hint: str, *, again: bool) -> None:
        super().__init__(what)
        self.what, self.hint, self.again = what, hint, again


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file holds: how many rows, which is the last of each user, what is wrong."""

    last: dict[str, int]
    rows: int
    mistakes: list[Mistake]

    @property
    def repeated(self) -> int:
        """Rows of users who have a later one."""
        return self.rows - len(self.last)


def survey(file: BinaryIO) -> Survey:
    """Read the whole file, and keep no password of it."""
    last: dict[str, int] = {}
    rows, mistakes = 0, []
    for row in read(file):
        if isinstance(row, Mistake):
            mistakes.append(row)
        else:
            rows += 1
            last[row.key] = row.number
    return Survey(last, rows, mistakes)


def wanted(file: BinaryIO, found: Survey) -> Iterator[Row]:
    """The rows that count, each the last of its user, in order."""
    file.seek(0)
    for row in read(file):
        if isinstance(row, Row) and found.last.get(row.key) == row.number:
            yield row


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where to send, with which key, and as which source's file. The key is not shown."""

    url: str
    key: str = field(repr=False)
    org: str | None
    line: Line
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic

    @property
    def key_id(self) -> str:
        """The public part of the key, `pf_ID`; empty for a text that is no key."""
        found = _KEY_ID.match(self.key)
        return found[0] if found is not None else ""

    def path(self, rest: str) -> str:
        """The path of the org's route ``rest``."""
        return rest if self.org is None else f"/orgs/{quote(self.org, safe='')}{rest}"

    def ask(self, method: str, path: str, body: object = None, **headers: str) -> Reply:
        """An answer that is final, however often it must be asked. Raises ``GivenUp``."""
        began, tries = self.monotonic(), 0
        while True:
            try:
                answer = self.line.call(
                    method, self.url + path, key=self.key, json_body=body, headers=headers, timeout=30
                )
                reason = f"status {answer.status} {answer.body.get('code', '')}".rstrip()
            except Unreachable as error:
                answer, reason = None, str(error)
            if answer is not None and not _comes_again(answer):
                return answer
            wait = min(LONGEST_WAIT, max(_asked_to_wait(answer), 0.5 * 2 ** min(tries, 6)))
            tries += 1
            if self.monotonic() + wait - began > PATIENCE:
                raise GivenUp(
                    f"no answer from {self.url}: {reason}", "run it again: it goes on from here", again=True
                )
            self.sleep(wait)


def _comes_again(answer: Reply) -> bool:
    stopped = answer.body.get("code") == "source.stopped"
    return not stopped and (answer.status == 429 or (answer.status >= 500 and "changeId" not in answer.body))


def _asked_to_wait(answer: Reply | None) -> float:
    asked = answer.headers.get("retry-after", "") if answer is not None else ""
    return float(asked) if asked.isascii() and asked.isdigit() else 0.0


def refusal(answer: Reply) -> str:
    """The codes of a refusal of one row. Raises ``GivenUp`` when every row would get it."""
    code = str(answer.body.get("code") or f"status.{answer.status}")
    if code == "source.stopped":
        raise GivenUp(
            str(answer.body.get("message")),
            "an operator says `passferry access resume NAME`; then run it again: it goes on from here",
            again=True,
        )
    if answer.status not in OF_ONE_ROW and code != "user.protected":
        message = f"the gateway answers {answer.status}: {answer.body.get('message') or code}"
        raise GivenUp(message, "see PASSFERRY_URL, the access key, its role and its orgs", again=False)
    errors = answer.body.get("errors")
    codes = [str(each.get("code")) for each in errors if isinstance(each, dict)] if errors else []
    return " ".join(codes) or code


def send(gateway: Gateway, row: Row, changed_at: str, name: str, journal: Journal) -> None:
    """Send ``row`` under the Idempotency-Key ``name``, and write down what was answered."""
    body = {
        row.column: row.user,
        "password": row.password.reveal(),
        "changedAt": row.changed_at or changed_at,
    }
    headers = {"Idempotency-Key": name, "Prefer": "respond-async, bulk"}
    answer = gateway.ask("POST", gateway.path("/sync/password"), body, **headers)
    change = answer.body.get("changeId")
    if change is not None:
        journal.accepted(row.number, str(change))
    else:
        journal.refuse(row.number, refusal(answer))


def follow(gateway: Gateway, journal: Journal, seen: Callable[[int, str], None]) -> None:
    """Return when every change of ``journal`` has ended, or waits for a person or for the end of a dry run.

    ``seen`` is told after each look how many have ended, and why the rest waits, if there is a reason.
    Raises ``GivenUp``.
    """
    looks = 0
    ended, rehearsed = journal.ended, journal.rehearsed
    while waiting := [row for row in journal.changes if row not in ended and row not in rehearsed]:
        unended, why = 0, ""
        for row in waiting:
            state, code = _look(gateway, journal.changes[row])
            if state in ENDED:
                journal.end(row, state, code)
            elif state == REHEARSED:
                journal.rehearsed.add(row)
            else:
                unended, why = unended + 1, code
            if unended >= UNENDED and looks % LOOK_AT_ALL:
                break
        seen(len(journal.ended), why)
        looks += 1
        if unended:
            gateway.sleep(LOOK_EVERY)


def _look(gateway: Gateway, change_id: str) -> tuple[str, str]:
    answer = gateway.ask("GET", f"/changes/{quote(change_id, safe='')}")
    if answer.status == 404:  # it ended so long ago that it was deleted, or its user was forgotten
        return "expired", "change.unknown"
    if answer.status != 200:
        raise GivenUp(
            f"the gateway answers {answer.status}: {answer.body.get('message')}",
            "see the access key",
            again=False,
        )
    error, state = answer.body.get("error"), str(answer.body.get("status"))
    code = str(error.get("code")) if isinstance(error, dict) else ""
    if state == "pending" and code == DRY_RUN:
        again = rfc3339(str(answer.body.get("nextAttemptAt")))
        if again is not None and again > time.time():  # when the dry run has ended, it is due at once
            state = REHEARSED
    return state, code


def check(gateway: Gateway, row: Row) -> str | None:
    """What the policy has against ``row``, as codes; None when it has nothing."""
    body = {row.column: row.user, "password": row.password.reveal()}
    answer = gateway.ask("POST", gateway.path("/policy/check"), body)
    return None if answer.status == 200 else refusal(answer)


def look_up(gateway: Gateway, row: Row) -> str | None:
    """`user.unknown` or `user.inactive` by the gateway's SCIM routes; None when the user can be written to.

    A short name, which the gateway completes, is not looked up. Raises ``LookupError`` without such routes.
    """
    if row.column == "userName" or "@" in row.user:
        if "@" not in row.user:
            return None
        query = urlencode({"filter": f"userName eq {json.dumps(row.user, ensure_ascii=False)}", "count": "1"})
        answer = gateway.ask("GET", gateway.path(f"/scim/v2/Users?{query}"))
        resources = answer.body.get("Resources") or []
    else:
        answer = gateway.ask("GET", gateway.path(f"/scim/v2/Users/{quote(row.user, safe='')}"))
        resources = [answer.body]
    if answer.status == 404 and answer.body.get("code") == "path.unknown":
        raise LookupError
    if answer.status == 404 or (answer.status == 200 and not resources):
        return "user.unknown"
    if answer.status != 200:
        raise GivenUp(f"the gateway answers {answer.status} to a look-up", "see --no-lookup", again=False)
    return "user.inactive" if resources[0].get("active") is False else None


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast an org is delivered to, and how many changes wait already."""

    a_minute: float
    waiting: int

    def seconds(self, changes: int) -> tuple[float, float]:
        """From and to how many seconds ``changes`` take: 1.05 requests each by pages, else up to 3."""
        fast, slow = 1.05 * changes, 3.0 * (changes + self.waiting)
        return 60.0 * fast / self.a_minute, 60.0 * slow / self.a_minute


def pace(gateway: Gateway) -> Pace | None:
    """The pace of the gateway's org; None from a gateway that does not tell. Raises ``GivenUp``."""
    answer = gateway.ask("GET", gateway.path("/pace"))
    if answer.status == 404:
        return None
    if answer.status != 200:
        refusal(answer)
    return Pace(max(float(answer.body.get("requestsPerMinute", 0)), 0.1), int(answer.body.get("waiting", 0)))
