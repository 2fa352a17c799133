"""Old-then-new races for one user while the target throttles, resets, stays silent or is late.

``python -m tests.process.races --races 500 --seed 1`` prints the figures and exits 1 when an older password
was the last that a target got.
"""

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from passferry.simulator import Settings, Simulator

from .harness import Client, StandIn, call, count, home

FAULTS = (
    "reset_before",
    "reset_after",
    "lost_answer",
    "late_write",
    "slow",
    "gateway_timeout",
    "empty_success",
    "edited_between",
    "bad_gateway",
    "empty_body",
    "server_error",
)
ON_READS = ("reset_before", "bad_gateway", "slow")
REQUEST_SECONDS = 0.5
SETTINGS = {
    "rate": 1_000_000,  # pacing is not what is tested here
    "latency": 0.02,
    "slow_seconds": 0.8,  # answered after the gateway has given up, written at once
    "late_seconds": 0.8,  # written after the gateway has given up, within the time that it waits in doubt
}
PARALLEL = 24


@dataclass(slots=True)
class Figures:
    """What a run came to. The lists must be empty."""

    races: int = 0
    seconds: float = 0.0
    both_written: int = 0
    old: dict[str, int] = field(default_factory=dict)
    evidence: dict[str, int] = field(default_factory=dict)
    struck: dict[str, int] = field(default_factory=dict)
    stale: list[str] = field(default_factory=list)
    out_of_order: list[str] = field(default_factory=list)
    not_applied: list[str] = field(default_factory=list)
    audit: str = ""

    @property
    def ok(self) -> bool:
        """Whether the newer always won."""
        return not (self.stale or self.out_of_order or self.not_applied) and self.audit == "ok"


class Races:
    """Threads, each racing a user of its own at a time."""

    def __init__(self, target: StandIn, client: Client, operator: str, races: int, seed: int) -> None:
        self._target, self._client, self._operator = target, client, operator
        self._users = target.active_users()
        self._left, self._seed = list(range(races)), seed
        self._lock = threading.Lock()
        self.figures = Figures()

    def run(self) -> None:
        """All of them."""
        threads = [threading.Thread(target=self._work, args=(n,), daemon=True) for n in range(PARALLEL)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(300)

    def _work(self, thread: int) -> None:
        mine = self._users[thread::PARALLEL]
        while True:
            with self._lock:
                if not self._left:
                    return
                number = self._left.pop(0)
            user = mine[number % len(mine)]
            try:
                self._race(number, user, random.Random(f"{self._seed}/{number}"))
            except Exception as error:  # noqa: BLE001  # a thread's failure is a figure, and must not be lost
                with self._lock:
                    self.figures.not_applied.append(f"{number}: {type(error).__name__} {error}")

    def _race(self, number: int, user: tuple[str, str], luck: random.Random) -> None:
        old, new = f"Race-{number}-Old-7!", f"Race-{number}-New-8!"
        faults = self._hinder(user[0], luck)
        first = self._client.later(luck.choice(user), old)
        time.sleep(luck.choice((0.0, luck.uniform(0, 0.15), luck.uniform(0, 1.2))))
        second = self._client.later(luck.choice(user), new)
        after = self._hurried(second)
        before = self._hurried(first)
        self._target.do(lambda s: forget(s, user[0]))
        time.sleep(
            SETTINGS["late_seconds"] if "late_write" in faults else 0.0
        )  # nothing late is still to come
        writes = [password for password in self._target.passwords(user[0]) if password in (old, new)]
        told = f"{number} {faults} {writes} old {before['status']} new {after['status']}"
        with self._lock:
            self.figures.races += 1
            self.figures.both_written += len(writes) > 1
            count(self.figures.old, [before["status"]])
            count(self.figures.evidence, [str(after["evidence"])])
            if after["status"] != "applied" or before["status"] not in ("applied", "superseded"):
                self.figures.not_applied.append(told)
            if not writes or writes[-1] != new:
                self.figures.stale.append(told)
            if writes not in ([new], [old, new]):
                self.figures.out_of_order.append(told)

    def _hurried(self, change_id: str) -> dict[str, Any]:
        """The change when it has ended. An operator shortens the waits between tries, not the doubt."""
        end = time.monotonic() + 90
        while True:
            change = self._client.change(change_id)
            if change["status"] not in ("pending", "delivering") or time.monotonic() > end:
                return change
            call("POST", f"{self._client.url}/changes/{change_id}/retry", key=self._operator)
            time.sleep(0.5)

    def _hinder(self, user_id: str, luck: random.Random) -> list[str]:
        """One or two faults for the user's next requests; now and then a throttling that concerns all."""
        faults = luck.sample(FAULTS, luck.randint(1, 2))
        for fault in faults:
            self._target.fault(fault, user_id)
        if luck.random() < 0.3:
            fault = luck.choice(ON_READS)
            self._target.fault(fault, user_id, "GET")
        if luck.random() < 0.04:
            faults.append("throttled_1")
            self._target.fault("throttled_1", user_id, "*")
        return faults


def forget(simulator: Simulator, user_id: str) -> None:
    """Drop the faults that still wait for a user's requests."""
    kept = [one for one in simulator.planned if one.path != user_id]
    simulator.clear_planned()
    for one in kept:
        simulator.next(one.fault, method=one.method, path=one.path)


def run(root: Path, *, races: int, seed: int) -> Figures:
    """Do it; the figures."""
    began = time.monotonic()
    with StandIn(Settings.calm(**SETTINGS), seed=seed, users=PARALLEL * 5) as target:
        more = {
            "PASSFERRY_ORGS_DEFAULT_REQUEST_TIMEOUT": str(REQUEST_SECONDS),
            "PASSFERRY_ORGS_DEFAULT_RATE": "1000000",
            "PASSFERRY_VERIFIER": "false",  # two hashes a race would be all that this measures
        }
        with home(root / "gateway", target.settings(), **more) as place:
            key, operator = place.key(), place.key("operator", "--role", "operator")
            gateway = place.serve()
            contest = Races(target, Client(gateway.url, key), operator, races, seed)
            contest.run()
            gateway.stop()
            checked = place.run("audit", "verify")
        figures = contest.figures
        figures.audit = "ok" if checked.code == 0 else checked.text
        figures.struck = target.do(lambda s: dict(s.stats()["faults"]))
    figures.seconds = round(time.monotonic() - began, 1)
    return figures


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--races", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="passferry-races-") as root:
        figures = run(Path(root), races=asked.races, seed=asked.seed)
    print(json.dumps({"ok": figures.ok, **asdict(figures)}))
    return 0 if figures.ok else 1


if __name__ == "__main__":
    sys.exit(main())
