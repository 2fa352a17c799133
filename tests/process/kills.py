"""kill -9 of the gateway at random moments while it brings changes to a target that misbehaves mildly.

``python -m tests.process.kills --kills 50 --changes 200 --seed 1`` prints the figures and exits 1 when a
promise was broken.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import quote

from passferry.simulator import Settings

from .harness import NO_ANSWER, Client, Home, StandIn, call, count, home


@dataclass(frozen=True, slots=True)
class Wanted:
    """One change that a caller is to send: the ``turn``-th of its user."""

    user_id: str
    reference: str
    turn: int
    password: str


@dataclass(slots=True)
class Figures:
    """What a run came to. All but the first seven must be 0 or empty."""

    kills: int = 0
    kills_in_start: int = 0
    changes: int = 0
    seconds: float = 0.0
    states: dict[str, int] = field(default_factory=dict)
    evidence: dict[str, int] = field(default_factory=dict)
    repeated_sends: int = 0
    lost: int = 0
    stale: int = 0
    out_of_order: int = 0
    written_twice: int = 0
    profiles_changed: int = 0
    not_ended_well: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    audit: str = ""
    faults: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every promise was kept."""
        broken = (self.lost, self.stale, self.out_of_order, self.written_twice, self.profiles_changed)
        return not any(broken) and not self.not_ended_well and not self.errors and self.audit == "ok"


class Gateway:
    """The gateway that is killed again and again; callers ask where it is now."""

    def __init__(self, place: Home) -> None:
        self.place = place
        self.running = place.serve()
        self.url = self.running.url

    def kill(self) -> None:
        """kill -9, and no new one yet."""
        self.running.kill()

    def start(self) -> None:
        """A new process on the same state."""
        self.running = self.place.serve()
        self.url = self.running.url

    def start_and_kill(self, after: float) -> None:
        """A new process that does not get far."""
        running = self.place.spawn("serve", "--listen", "127.0.0.1:0", "--json")
        time.sleep(after)
        running.kill()


def plan(users: Sequence[tuple[str, str]], changes: int, luck: random.Random) -> list[list[Wanted]]:
    """The changes of each user in order: one to three, by id, by email, or by both in turn."""
    planned: list[list[Wanted]] = []
    left = changes
    for number, (user_id, name) in enumerate(users):
        many = min(left, (1, 2, 2, 3)[number % 4])
        mine = []
        for turn in range(many):
            reference = luck.choice((user_id, name, name.upper() if turn else name))
            mine.append(Wanted(user_id, reference, turn, f"Kill-{number}-{turn}-Ab9!{luck.randrange(10**9)}"))
        left -= many
        if mine:
            planned.append(mine)
    assert left == 0, "too few users"
    return planned


class Callers:
    """Threads that send the changes, and send again with the same key whenever no answer comes."""

    def __init__(
        self, gateway: Gateway, key: str, planned: Sequence[Sequence[Wanted]], spread: float
    ) -> None:
        self._gateway, self._key = gateway, key
        self._jobs = list(planned)
        self._gap = spread / sum(map(len, planned))
        self._lock = threading.Lock()
        self._luck = random.Random(7)
        self.accepted: dict[str, Wanted] = {}
        self.errors: list[str] = []
        self.repeated = 0
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(4)]
        for thread in self.threads:
            thread.start()

    def alive(self) -> bool:
        """Whether there is something left to send."""
        return any(thread.is_alive() for thread in self.threads)

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    return
                first, *rest = self._jobs.pop(0)
            self._send(first)
            time.sleep(self._gap * len(self.threads) * self._luck.uniform(0.2, 1.8))
            with self._lock:  # the user's next change comes at once or, more often, much later
                if rest:
                    self._jobs.insert(0 if self._luck.random() < 0.3 else len(self._jobs), rest)

    def _send(self, wanted: Wanted) -> None:
        idem = f"{wanted.user_id}-{wanted.turn}"
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                client = Client(self._gateway.url, self._key)
                answer = client.send(
                    wanted.reference, wanted.password, idem=idem, prefer="respond-async", timeout=5
                )
            except NO_ANSWER:
                self.repeated += 1
                time.sleep(0.3)
                continue
            if answer.status in (200, 202):
                with self._lock:
                    self.accepted[answer.json["changeId"]] = wanted
                return
            if answer.status in (429, 500, 503):
                time.sleep(0.2)
                continue
            self.errors.append(f"{answer.status} {answer.json.get('code')}")
            return
        self.errors.append("gave up")


def run(root: Path, *, kills: int, changes: int, seed: int) -> Figures:
    """Do it; the figures."""
    luck = random.Random(seed)
    figures = Figures()
    began = time.monotonic()
    # Default switches and faults; an answer takes as long as on a real network: kills meet requests.
    settings = Settings().changed({"window": 2.0, "latency": 0.08})
    with StandIn(settings, seed=seed, users=max(60, changes)) as target:
        planned = plan(target.active_users(), changes, luck)
        before = {mine[0].user_id: target.profile(mine[0].user_id) for mine in planned}
        with home(root / "gateway", target.settings(), PASSFERRY_ORGS_DEFAULT_REQUEST_TIMEOUT="1") as place:
            key = place.key()
            operator = place.key("operator", "--role", "operator")
            gateway = Gateway(place)
            callers = Callers(gateway, key, planned, spread=2.6 * kills)
            _kill_often(gateway, figures, kills, luck)
            _wait_for_ends(gateway, operator, callers)
            _judge(figures, target, gateway, operator, callers, planned)
            figures.profiles_changed = sum(target.profile(user) != text for user, text in before.items())
            gateway.running.stop()
            checked = place.run("audit", "verify")
            figures.audit = "ok" if checked.code == 0 else checked.text
        figures.faults = target.do(lambda s: dict(s.stats()["faults"]))
    figures.seconds = round(time.monotonic() - began, 1)
    return figures


def _kill_often(gateway: Gateway, figures: Figures, kills: int, luck: random.Random) -> None:
    while figures.kills < kills:
        time.sleep(luck.choice((luck.uniform(0, 0.3), luck.uniform(0.2, 2.0))))
        gateway.kill()
        figures.kills += 1
        if luck.random() < 0.15:
            gateway.start_and_kill(luck.uniform(0.1, 1.0))
            figures.kills_in_start += 1
        gateway.start()


def _states(gateway: Gateway, operator: str) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    cursor = ""
    while True:
        page = call("GET", f"{gateway.url}/changes?limit=200{cursor}", key=operator).json
        found |= {change["changeId"]: change for change in page["changes"]}
        if not page["next"]:
            return found
        cursor = f"&cursor={quote(page['next'])}"


def _wait_for_ends(gateway: Gateway, operator: str, callers: Callers, seconds: float = 150.0) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.5)
        live = [c for c in _states(gateway, operator).values() if c["status"] in ("pending", "delivering")]
        if not live and not callers.alive():
            return


def _judge(
    figures: Figures,
    target: StandIn,
    gateway: Gateway,
    operator: str,
    callers: Callers,
    planned: Sequence[Sequence[Wanted]],
) -> None:
    states = _states(gateway, operator)
    figures.changes, figures.repeated_sends = len(callers.accepted), callers.repeated
    figures.errors += callers.errors
    count(figures.states, [str(change["status"]) for change in states.values()])
    count(figures.evidence, [str(change["evidence"]) for change in states.values() if change["evidence"]])
    figures.lost = len(set(callers.accepted) - set(states)) + abs(len(states) - len(callers.accepted))
    for change_id, wanted in callers.accepted.items():
        change = states.get(change_id)
        last = wanted.turn == max(
            one.turn for one in callers.accepted.values() if one.user_id == wanted.user_id
        )
        if change is None or change["status"] not in (("applied",) if last else ("applied", "superseded")):
            figures.not_ended_well.append(f"{change_id} turn {wanted.turn}: {change}")
    for mine in planned:
        _judge_writes(figures, target.passwords(mine[0].user_id), mine)


def _judge_writes(figures: Figures, writes: Sequence[str], mine: Sequence[Wanted]) -> None:
    turns = {wanted.password: wanted.turn for wanted in mine}
    order = [turns.get(password, -1) for password in writes]
    figures.stale += not writes or writes[-1] != mine[-1].password
    figures.out_of_order += order != sorted(order)
    figures.written_twice += len(order) != len(set(order))


def summary(figures: Figures) -> Mapping[str, object]:
    """The figures for a reader."""
    return {"ok": figures.ok, **asdict(figures)}


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="passferry-kills-") as root:
        figures = run(Path(root), kills=asked.kills, changes=asked.changes, seed=asked.seed)
    print(json.dumps(summary(figures)))
    return 0 if figures.ok else 1


if __name__ == "__main__":
    sys.exit(main())
