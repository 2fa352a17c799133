"""``passferry demo``: real changes through a real gateway to the stand-in, and proof of each."""

import json
import secrets
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from passferry.client import Reply
from passferry.entrypoints.cli_io import Code, print_json
from passferry.entrypoints.demo_show import Screen
from passferry.entrypoints.demo_stage import Stage, StageError, stage

LONGEST = 20.0
"""Seconds in which a change must end here."""


@dataclass(slots=True)
class Step:
    """One scene: what was sent, what came back, what happened, what proves it. Holds no password."""

    title: str
    sent: list[str] = field(default_factory=list)
    answers: list[dict[str, Any]] = field(default_factory=list)
    timeline: list[tuple[float, str]] = field(default_factory=list)  # seconds since the first was sent
    proofs: list[tuple[str, bool]] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything is as it should be."""
        return bool(self.proofs) and all(holds for _, holds in self.proofs)

    def prove(self, claim: str, holds: bool) -> None:
        """Note a claim and whether it is true."""
        self.proofs.append((claim, holds))

    def as_json(self) -> dict[str, Any]:
        """The step for programs."""
        return {
            "title": self.title,
            "ok": self.ok,
            "sent": self.sent,
            "answers": self.answers,
            "timeline": [{"seconds": round(at, 3), "what": what} for at, what in self.timeline],
            "proofs": [{"claim": claim, "ok": holds} for claim, holds in self.proofs],
        }


@dataclass(slots=True)
class Play:
    """The stage, and the passwords that were sent: to compare with and to search for, never to show."""

    stage: Stage
    passwords: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.time)

    def password(self) -> str:
        """A made-up password that meets the policy."""
        text = f"Demo-{secrets.token_hex(6)}-Ab9!"
        self.passwords.append(text)
        return text


def run(*, keep: bool, as_json: bool) -> int:
    """Play all scenes; the exit code. With ``keep``, wait for Ctrl-C in the end."""
    screen = Screen(quiet=as_json)
    began = time.monotonic()
    try:
        with ExitStack() as held:
            with screen.busy("starting the stand-in and the gateway"):
                set_up = held.enter_context(stage())
            return _played(set_up, screen, began, keep=keep, as_json=as_json)
    except StageError as error:
        print(f"passferry: {error}", file=sys.stderr)
        return Code.FAILED
    except KeyboardInterrupt:
        return Code.DONE if keep else Code.FAILED


def _played(set_up: Stage, screen: Screen, began: float, *, keep: bool, as_json: bool) -> int:
    play = Play(set_up)
    screen.opening(set_up.simulator, set_up.gateway)
    steps = []
    for number, (title, scene) in enumerate(SCENES, 1):
        step = Step(title)
        with screen.busy(title):
            scene(play, step)
        screen.step(number, step)
        steps.append(step)
    ok = all(step.ok for step in steps)
    seconds = time.monotonic() - began
    document = {
        "ok": ok,
        "seconds": round(seconds, 1),
        "simulator": set_up.simulator,
        "gateway": set_up.gateway,
        "steps": [step.as_json() for step in steps],
    }
    if as_json:
        print_json(document | ({"apiKey": set_up.key} if keep else {}))
    else:
        screen.closing(sum(step.ok for step in steps), len(steps), seconds)
    if not ok:
        print(set_up.log_tail(), file=sys.stderr)
    if keep:
        screen.kept(set_up.simulator, set_up.gateway, set_up.key)
        sys.stdout.flush()
        _wait_for_ctrl_c(set_up)
    return Code.DONE if ok else Code.FAILED


def _wait_for_ctrl_c(set_up: Stage) -> None:
    try:
        while set_up.alive():
            time.sleep(0.5)
    except KeyboardInterrupt:
        return
    print("passferry: one of the two has ended", file=sys.stderr)


# --- scenes ----------------------------------------------------------------------------------


def good(play: Play, step: Step) -> None:
    """By id, waited for; then the same request once more, as a caller does that lost the answer."""
    watch = _Watch(play, step, "agent001@example.com")
    body = {"userId": watch.user["id"], "password": play.password()}
    key = str(uuid.uuid4())
    watch.send(f"POST /sync/password  userId {watch.user['id']}", body, Idempotency_Key=key)
    watch.send("the same again, same Idempotency-Key", body, Idempotency_Key=key)
    first, second = step.answers
    watch.finish()
    step.prove("answered 200, applied", first["status"] == 200 and first["state"] == "applied")
    step.prove("the repeat is the same change", second["changeId"] == first["changeId"])
    watch.prove_password(body["password"], writes=1)
    watch.prove_profile()


def refused(play: Play, step: Step) -> None:
    """A password that breaks several rules: every reason at once, and nothing reaches the target."""
    watch = _Watch(play, step, "agent002@example.com")
    watch.send(
        "POST /sync/password  a short one, all lower case", {"userId": watch.name, "password": "abcde"}
    )
    answer = step.answers[0]
    watch.finish()
    step.prove("answered 400 with every reason", answer["status"] == 400 and len(answer["errors"]) >= 4)
    step.prove("nothing reached the target", not watch.requests and not watch.after["writes"])
    watch.prove_profile()


def by_email(play: Play, step: Step) -> None:
    """By email, which is the userName; not waited for."""
    watch = _Watch(play, step, "agent004@example.com")
    body = {"userId": watch.name, "password": play.password()}
    watch.send(
        f"POST /sync/password  userId {watch.name}, Prefer: respond-async", body, Prefer="respond-async"
    )
    answer = step.answers[0]
    watch.finish()
    step.prove("answered 202 at once", answer["status"] == 202)
    step.prove("then applied", watch.state(answer["changeId"]) == "applied")
    watch.prove_password(body["password"], writes=1)
    watch.prove_profile()


def race(play: Play, step: Step) -> None:
    """Two at the same moment for one user: whichever was accepted last is what the user ends up with."""
    watch = _Watch(play, step, "agent005@example.com")
    bodies = [{"userId": watch.name, "password": play.password()} for _ in range(2)]
    watch.send_together([f"POST /sync/password  userId {watch.name}  ({which})" for which in "AB"], bodies)
    watch.finish()
    changes = [play.stage.change(answer["changeId"]) for answer in step.answers if answer["changeId"]]
    ends = [change.get("status") for change in changes]
    newest = _newest(changes)
    step.prove(
        "one was accepted after the other and is applied; the older one came first or was superseded",
        len(changes) == 2 and newest is not None and set(ends) <= {"applied", "superseded"},
    )
    if newest is not None:
        watch.prove_password(bodies[newest]["password"], writes=ends.count("applied"))
    watch.prove_profile()


def _newest(changes: list[dict[str, Any]]) -> int | None:
    """Which of two was accepted last: the one that superseded the other, else the one with the later time."""
    if len(changes) != 2 or "applied" not in (ends := [change.get("status") for change in changes]):
        return None
    if "superseded" in ends:
        return ends.index("applied")
    return max((0, 1), key=lambda which: str(changes[which]["acceptedAt"]))


def throttled(play: Play, step: Step) -> None:
    """The target says 429 to the write; the wait that it asks for is kept, then the change arrives."""
    watch = _Watch(play, step, "agent006@example.com")
    play.stage.fault("throttled_1", "PUT", f"*/{watch.user['id']}")
    body = {"userId": watch.user["id"], "password": play.password()}
    watch.send(f"POST /sync/password  userId {watch.user['id']}", body)
    answer = step.answers[0]
    watch.finish()
    limits = [at for at, entry in watch.requests if entry["status"] == 429]
    later = [at for at, entry in watch.requests if entry["method"] == "PUT" and entry["status"] == 200]
    step.prove("the target answered 429, Retry-After 1", len(limits) == 1)
    step.prove(
        "the next try came after that second, and applied",
        bool(limits and later and later[0] - limits[0] >= 0.95)
        and watch.state(answer["changeId"]) == "applied",
    )
    watch.prove_password(body["password"], writes=1)
    watch.prove_profile()


def afterwards(play: Play, step: Step) -> None:
    """What is left behind: an unbroken audit trail, and no password anywhere in clear."""
    audit = play.stage.command("audit", "verify")
    records = sum(org["records"] for org in audit.get("orgs", []))
    step.sent.append("passferry audit verify")
    step.timeline.append((0.0, f"{records} records of what was accepted, tried and applied"))
    step.prove("every link of the audit trail fits", bool(audit.get("ok")) and records > 0)
    found = {
        path.name
        for path, data in play.stage.files()
        for password in play.passwords
        if password.encode() in data
    }
    step.prove("no password stands in any file or log line of the gateway", not found)


SCENES: tuple[tuple[str, Callable[[Play, Step], None]], ...] = (
    ("A new password, by user id", good),
    ("One that the policy refuses", refused),
    ("One by email, not waited for", by_email),
    ("Two racing for one user", race),
    ("One while the target throttles", throttled),
    ("What is left behind", afterwards),
)


# --- watching --------------------------------------------------------------------------------


class _Watch:
    """One user during one scene: its profile before and after, what was sent, what the target saw."""

    def __init__(self, play: Play, step: Step, name: str) -> None:
        self._play, self._step, self.name = play, step, name
        self.user = play.stage.user(name)
        self.after: dict[str, Any] = {}
        self.requests: list[tuple[float, dict[str, Any]]] = []
        self._began = time.time()

    def send(self, text: str, body: dict[str, str], **headers: str) -> None:
        """Send one change and note what came back."""
        if not self._step.sent:
            self._began = time.time()
        began = time.time()
        answer = self._play.stage.send(body, **headers)
        self._note(text, began, answer)

    def send_together(self, texts: list[str], bodies: list[dict[str, str]]) -> None:
        """Send several at the same moment, each on its own connection."""
        start = threading.Barrier(len(bodies))
        found: dict[int, tuple[float, Reply]] = {}

        def one(which: int) -> None:
            start.wait(10)
            began = time.time()
            found[which] = (began, self._play.stage.send(bodies[which]))

        threads = [threading.Thread(target=one, args=(which,)) for which in range(len(bodies))]
        self._began = time.time()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LONGEST * 2)
        for which, (began, answer) in sorted(found.items()):
            self._note(texts[which], began, answer)

    def _note(self, text: str, began: float, answer: Reply) -> None:
        body = answer.body
        self._step.sent.append(text)
        self._step.answers.append(
            {
                "status": answer.status,
                "message": body.get("message"),
                "changeId": body.get("changeId"),
                "state": body.get("status"),
                "errors": body.get("errors", []),
                "milliseconds": round((time.time() - began) * 1000),
            }
        )

    def state(self, change_id: str | None) -> str | None:
        """Where a change is now."""
        return self._play.stage.change(change_id).get("status") if change_id else None

    def finish(self) -> None:
        """Wait until every change has ended, then read back the user and what the target saw."""
        ids = list(dict.fromkeys(a["changeId"] for a in self._step.answers if a["changeId"]))
        until = time.monotonic() + LONGEST
        while any(self.state(i) in ("pending", "delivering") for i in ids) and time.monotonic() < until:
            time.sleep(0.02)
        self.after = self._play.stage.user(self.name)
        for entry in self._play.stage.requests(self._began):
            at = _seconds(entry["time"]) - self._began
            self.requests.append((at, entry))
            self._step.timeline.append((at, _sentence(entry)))
        for number, change_id in enumerate(ids):
            change = self._play.stage.change(change_id)
            label = f"change {'AB'[number]} is " if len(ids) > 1 else "the change is "
            evidence = f", {change['evidence']}" if change.get("evidence") else ""
            at = _seconds(change["updatedAt"]) - self._began
            self._step.timeline.append((at, f"{label}{change['status']}{evidence}"))
        self._step.timeline.sort(key=lambda event: event[0])

    def prove_password(self, password: str, *, writes: int) -> None:
        """At the target: this password, set as often as it should be."""
        times = "once" if writes == 1 else f"{writes} times, in order"
        self._step.prove(
            f"the password at the target is the one that was sent, written {times}",
            self.after.get("password") == password and len(self.after.get("writes", [])) == writes,
        )

    def prove_profile(self) -> None:
        """At the target: everything else of the user is as it was, 5 still 5 and 5.0 still 5.0."""
        before, after = (json.dumps(user.get("profile")) for user in (self.user, self.after))
        leaves = _leaves(self.user.get("profile"))
        self._step.prove(f"its {leaves} other values are as they were", before == after and leaves > 5)


def _sentence(entry: dict[str, Any]) -> str:
    path = entry["path"].removeprefix("/api/v2")
    if entry["query"]:
        path += "?filter" if "filter" in entry["query"] else "?…"
    head, _, last = path.rpartition("/")
    if len(last) == 36:
        path = f"{head}/{last[:8]}…"
    return f"{entry['method']} {path} → {entry['status']}"


def _leaves(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_leaves, value.values()))
    if isinstance(value, list):
        return sum(map(_leaves, value)) or 1
    return 1


def _seconds(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()
