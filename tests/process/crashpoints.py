"""The gateway dies between every two consecutive steps of accept and deliver, one step a run.

``python -m process.crashpoints`` first lists the points that a run passes (see ``seams``). Then it runs once
for each: the process dies there, is started again, the caller sends again what was not answered; in the end
every promise is checked. Prints a line a point and exits 1 when a promise was broken. A point is called by
what was done last, and how often that had been done: the name is the same in every run, and ``--only NAME``
runs it again.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from passferry.simulator import Settings
from passferry.state import ROTATION_LOCK

from .ground import CHOICES, SQLITE, Ground, Ledger
from .harness import ENDED, NO_ANSWER, Answer, Client, Home, Running, StandIn, call
from .promises import PROFILE, Breach, Sent, Shown, altered, broken

LATENCY = 0.15
"""Seconds of the target's answers: what comes while an answer is awaited does so in every run."""
REQUEST_SECONDS = "1"
SETTINGS = {
    "PASSFERRY_ORGS_DEFAULT_REQUEST_TIMEOUT": REQUEST_SECONDS,
    "PASSFERRY_ORGS_DEFAULT_RATE": "100000",
}
PATIENCE = 60.0
NEVER, FAILED = "never", "run failed"
TRACE = "trace"
AFTERWARDS = 0.3
"""Seconds for the steps that follow the last outcome."""
TRIES = 3
"""Runs after which a point counts as not reached: two things at once may come in another order."""


class Mortal:
    """A gateway that dies at given points, one a life; its last life has none."""

    def __init__(self, place: Home, deaths: Sequence[str]) -> None:
        """The life that ends, if at all, at the last of ``deaths`` is traced."""
        self._place, self._deaths = place, list(deaths)
        self._lives = self.died = 0
        self.running: Running | None = None
        self.url = ""

    def live(self) -> None:
        """Start, as often as it dies before it listens."""
        while True:
            self.running = self._start()
            try:
                self.url = self.running.listening().url
            except AssertionError:
                if self.running.process.poll() != -9:
                    raise
                self.died += 1
            else:
                return

    def revive(self) -> None:
        """Start again if it is dead."""
        if self.running is not None and self.running.process.poll() is not None:
            assert self.running.process.returncode == -9, self.running.log()[-2000:]
            self.died += 1
            self.live()

    def _start(self) -> Running:
        self._lives += 1
        left = self._deaths[self._lives - 1 :]
        traced = len(left) == 1
        point = left[0] if left else NEVER
        return die_at(self._place, point, "serve", "--listen", "127.0.0.1:0", "--json", traced=traced)

    def stop(self) -> None:
        """SIGTERM. A life may end at one of its own steps then, and another one leaves in its place."""
        self.revive()
        assert self.running is not None
        while (code := self.running.stop()) == -9:
            self.revive()
        assert code == 0, self.running.log()[-2000:]


def die_at(place: Home, point: str, *command: str, traced: bool = True) -> Running:
    """Start ``passferry COMMAND``, which is to die at ``point``."""
    env = {"SEAMS_DIE": point, "SEAMS_TRACE": str(place.root / TRACE) if traced else ""}
    return place.spawn(*command, env=env, module="process.seams")


class Caller:
    """One source, which sends every change until it is answered, with the same Idempotency-Key."""

    def __init__(self, target: StandIn, gateway: Mortal, key: str) -> None:
        self._target, self._gateway, self.key = target, gateway, key
        self._turns: dict[str, int] = {}
        self.accepted: dict[str, Sent] = {}

    def send(self, user: tuple[str, str], *, by_name: bool = False, wait: bool = False) -> Sent:
        """The next change of ``user``."""
        user_id, name = user
        turn = self._turns[user_id] = self._turns.get(user_id, 0) + 1
        sent = Sent(user_id, name if by_name else user_id, turn, f"Crash-{name[:6]}-{turn}-Ab9!")
        self.again(sent, wait=wait)
        return sent

    def again(self, sent: Sent, *, wait: bool = False) -> None:
        """Send it, once more if it was before."""
        answer = self._answered(
            lambda client: client.send(
                sent.reference, sent.password, idem=sent.idem, prefer=None if wait else "respond-async"
            ),
            200,
            202,
        )
        change = answer.json["changeId"]
        assert self.accepted.setdefault(change, sent) == sent
        assert [one.idem for one in self.accepted.values()].count(sent.idem) == 1

    def newest(self, user_id: str) -> Sent:
        """The last change of a user."""
        return max((s for s in self.accepted.values() if s.user_id == user_id), key=lambda s: s.turn)

    def written(self, sent: Sent) -> None:
        """Wait until the target has executed the write; its answer is still under way then."""
        self._until(lambda: sent.password in self._target.passwords(sent.user_id))

    def ended(self) -> None:
        """Wait until every change has ended or is gone; who waits too long leaves it to the judge."""

        def look() -> bool:
            ids = list(self.accepted)
            answers = [self.change(change) for change in ids]
            return all(one.status == 404 or one.json["status"] in ENDED for one in answers)

        with suppress(AssertionError):
            self._until(look)

    def change(self, change: str) -> Answer:
        """GET /changes/{id}."""
        return self._answered(
            lambda client: call("GET", f"{client.url}/changes/{change}", key=client.key), 200, 404
        )

    def _answered(self, ask: Callable[[Client], Answer], *statuses: int) -> Answer:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            try:
                answer = ask(Client(self._gateway.url, self.key))
            except NO_ANSWER:
                time.sleep(0.05)
                self._gateway.revive()
                continue
            assert answer.status in statuses, answer.raw
            return answer
        raise AssertionError("no answer")

    def _until(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, "it did not happen"
            self._gateway.revive()
            time.sleep(0.01)


@dataclass(slots=True)
class Verdict:
    """What a run came to."""

    point: str
    died: int = 0
    seconds: float = 0.0
    shown: Shown = field(default_factory=lambda: Shown(0, 0, 0))
    breaches: list[Breach] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)

    def line(self) -> str:
        """For the table."""
        shown = self.shown
        words = (
            f"{shown.doubts} answers lost" * bool(shown.doubts),
            f"{shown.again} tried again" * bool(shown.again),
            f"{shown.inferred} inferred" * bool(shown.inferred),
        )
        verdict = "BROKEN: " + "; ".join(map(str, self.breaches)) if self.breaches else "kept"
        return (
            f"{self.point:50} {self.seconds:5.1f} s  {verdict}  {', '.join(w for w in words if w)}".rstrip()
        )


# --- what is played ------------------------------------------------------------------------------


@dataclass(slots=True)
class Stage:
    """Who takes part in a run, and where who is not the gateway is to die."""

    place: Home
    gateway: Mortal
    caller: Caller
    users: Sequence[tuple[str, str]]
    operator: str
    point: str
    died: int = 0

    def org(self, act: str) -> None:
        """Pause or resume the org."""
        url = f"{self.gateway.url}/orgs/default/{act}"
        assert call("POST", url, key=self.operator).status == 200


def play_deliver(stage: Stage) -> None:
    """Two changes of one user, the newer while the older is written; the same by name and by id; a repeat."""
    caller, users = stage.caller, stage.users
    first = caller.send(users[0])
    caller.written(first)
    caller.send(users[0])
    caller.send(users[1], by_name=True)
    caller.send(users[1])
    repeated = caller.send(users[2])
    caller.again(repeated)
    caller.send(users[3], by_name=True, wait=True)
    caller.ended()


def play_recover(stage: Stage) -> None:
    """One change is being written when the first process dies; the points are those of the next one."""
    stage.caller.written(stage.caller.send(stage.users[0]))
    stage.caller.send(stage.users[1])
    stage.caller.ended()


def play_first(stage: Stage) -> None:
    """The first start of all: neither a key ring nor a database is there."""
    stage.caller.key = stage.place.key("first")
    stage.caller.send(stage.users[0])
    stage.caller.ended()


def play_rotate(stage: Stage) -> None:
    """Beside a gateway, a rotation dies and is run again; a verifier and a waiting password are stored."""
    caller, users, place = stage.caller, stage.users, stage.place
    caller.send(users[0])
    caller.ended()
    stage.org("pause")
    caller.send(users[1])
    rotation = die_at(place, stage.point, "keys", "rotate")
    stage.died += rotation.process.wait(PATIENCE) == -9
    caller.send(users[2])
    again = place.run("keys", "rotate")
    assert again.code == 0, again.text
    assert len(json.loads(place.ring.read_text())["keys"]) == 1
    assert {each.name for each in place.ring.parent.iterdir()} == {place.ring.name, ROTATION_LOCK}
    stage.org("resume")
    caller.ended()
    known = place.run("verify", users[0][0], stdin=caller.newest(users[0][0]).password.encode())
    assert known.code == 0, known.text


@dataclass(frozen=True, slots=True)
class Scenario:
    """What is played, and who dies: the gateway, unless the play lets something else die.

    ``before``: where earlier processes die than the one whose points are tried. ``empty``: without any state,
    which is for SQLite only. ``until``: the first point that another scenario has as well.
    """

    play: Callable[[Stage], None]
    before: tuple[str, ...] = ()
    gateway_dies: bool = True
    empty: bool = False
    until: str = ""


SCENARIOS = {
    "deliver": Scenario(play_deliver),
    "recover": Scenario(play_recover, before=("write request: half answered #1",)),
    "rotate": Scenario(play_rotate, gateway_dies=False),
    "first": Scenario(play_first, empty=True, until="take: UPDATE orgs #1"),
}


class Trial:
    """One scenario on one ground, run once for each point."""

    def __init__(self, ground: Ground, root: Path, name: str) -> None:
        self._ground, self._root, self.name = ground, root, name
        self._scenario = SCENARIOS[name]

    def without_death(self) -> Verdict:
        """A run in which nothing dies; its trace is the points, in order."""
        verdict = self.run(NEVER)
        if (until := self._scenario.until) in verdict.trace:
            del verdict.trace[verdict.trace.index(until) :]
        return verdict

    def run_until_reached(self, point: str) -> Verdict:
        """The verdict of a run that died at ``point``."""
        for _ in range(TRIES):
            verdict = self.run(point)
            if verdict.breaches or verdict.died > len(self._scenario.before):
                return verdict
        verdict.breaches = [Breach(FAILED, f"not reached in {TRIES} runs")]
        return verdict

    def run(self, point: str) -> Verdict:
        """One run."""
        began = time.monotonic()
        verdict = Verdict(f"{self.name}: {point}")
        with tempfile.TemporaryDirectory(dir=self._root) as folder:
            try:
                self._run(Path(folder) / "gateway", point, verdict)
            except Exception as error:  # noqa: BLE001  # a point's failure is a line, and the others go on
                verdict.breaches.append(Breach(FAILED, f"{type(error).__name__} {error}"))
        verdict.seconds = time.monotonic() - began
        return verdict

    def _run(self, root: Path, point: str, verdict: Verdict) -> None:
        scenario = self._scenario
        with (
            StandIn(Settings.calm(rate=1_000_000, latency=LATENCY), users=12) as target,
            self._ground.place(root, target.settings(), **SETTINGS) as place,
        ):
            if scenario.empty:
                shutil.rmtree(place.state)
                shutil.rmtree(place.ring.parent)
            users = target.active_users()
            before = {user: target.profile(user) for user, _ in users}
            gateway = Mortal(place, [*scenario.before, point] if scenario.gateway_dies else [])
            caller = Caller(target, gateway, self._ground.source)
            stage = Stage(place, gateway, caller, users, self._ground.operator, point)
            gateway.live()
            scenario.play(stage)
            time.sleep(AFTERWARDS)
            gateway.stop()
            ledger = Ledger.of(place)
            verdict.died, verdict.shown = gateway.died + stage.died, Shown.by(ledger)
            verdict.trace = (place.root / TRACE).read_text().splitlines()
            verdict.breaches += broken(target, ledger, caller.accepted)
            verdict.breaches += altered(ledger, place.ring)
            moved = [user for user, text in before.items() if target.profile(user) != text]
            verdict.breaches += [Breach(PROFILE, user) for user in moved]


def verdicts(
    root: Path, database: str, scenarios: Sequence[str], *, only: str = "", turns: int = 1000, jobs: int = 3
) -> Iterator[Verdict]:
    """What a run came to for every point whose full name begins with ``only``, in the order of the points.

    Of each name the first ``turns``, ``jobs`` runs at a time: they wait more than they work.
    """
    ground = Ground(root, database)
    try:
        with ThreadPoolExecutor(jobs) as pool:
            for name in scenarios:
                trial = Trial(ground, root, name)
                if SCENARIOS[name].empty and database != SQLITE:
                    continue
                plain = trial.without_death()
                yield plain
                if plain.breaches:
                    continue
                wanted = [
                    point
                    for point in plain.trace
                    if f"{name}: {point}".startswith(only) and int(point.rpartition("#")[2]) <= turns
                ]
                yield from pool.map(trial.run_until_reached, wanted)
    finally:
        ground.close()


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--database", default=SQLITE, metavar="WHICH", help=CHOICES)
    parser.add_argument("--scenario", action="append", choices=SCENARIOS, help="all unless given")
    parser.add_argument("--only", default="", metavar="NAME", help="points whose name begins so")
    parser.add_argument("--turns", type=int, default=1000, metavar="N", help="the first N of each name")
    parser.add_argument("--jobs", type=int, default=3, metavar="N", help="runs at a time")
    asked = parser.parse_args()
    began, done, bad = time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory(prefix="passferry-crash-") as root:
        chosen = asked.scenario or list(SCENARIOS)
        found = verdicts(
            Path(root), asked.database, chosen, only=asked.only, turns=asked.turns, jobs=asked.jobs
        )
        for verdict in found:
            print(verdict.line(), flush=True)
            done, bad = done + 1, bad + bool(verdict.breaches)
    print(f"{asked.database}: {done} runs, {bad} broken, {time.monotonic() - began:.0f} s")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
