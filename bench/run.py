"""`make bench`: what the gateway does a second, against the bare parts it is made of.

    python bench/run.py [--rounds 5] [--only burst|accepts|hashes] [--record docs/benchmarks]

Ratios come from interleaved rounds of one run: median (smallest to largest). A ratio whose bound lies inside
its spread is "not distinguishable". Latencies count only in rounds whose idle probe was quiet. The burst
runs at the target's real pace: about four and a half minutes, twice.
"""

import argparse
import asyncio
import os
import platform
import statistics
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent))

from argon2.low_level import Type, hash_secret_raw

import callers
import programs
from passferry.adapters.hashing import NICENESS, RECOMMENDED, Argon2Hasher
from passferry.domain.password import Password

CHANGES, BURST_SECONDS, RATE, LATENCY = 600, 10.0, 300, 0.06


class Row(NamedTuple):
    """One line of the table."""

    what: str
    measured: str
    wanted: str
    verdict: str


def probe() -> float:
    """How late short sleeps wake up, in milliseconds (the worst of 100): small on a quiet machine."""
    worst = 0.0
    for _ in range(100):
        started = time.perf_counter()
        time.sleep(0.001)
        worst = max(worst, time.perf_counter() - started - 0.001)
    return worst * 1000


def ratio_row(what: str, ratios: list[float], least: float, note: str = "") -> Row:
    """A row about ``ratios``, wanted to be at least ``least``."""
    low, mid, high = min(ratios), statistics.median(ratios), max(ratios)
    verdict = "met" if low >= least else "missed" if high < least else "not distinguishable"
    return Row(what, f"{mid:.2f} × ({low:.2f} to {high:.2f}){note}", f"≥ {least} ×", verdict)


def limit_row(what: str, value: float, most: float, unit: str) -> Row:
    """A row about a figure that must not exceed ``most``."""
    return Row(what, f"{value:.2f}{unit}", f"≤ {most}{unit}", "met" if value <= most else "missed")


# --- accepts ---------------------------------------------------------------------------------


def accepts(rounds: int) -> list[Row]:
    """Durable accepts a second of 32 callers, against a bare echo on the same server."""
    count, ratios, rates, latencies = 2000, [], [], []
    with programs.folder() as folder, programs.simulator(folder, "--users", "10") as target:
        # Nothing is delivered meanwhile: the org is paused, since accepting is what is measured.
        settings = {"PASSFERRY_SOURCE_RATE": "1000000", "PASSFERRY_VERIFIER": "false"}
        with (
            programs.gateway(folder, target.url, **settings) as (gateway, key),
            programs.echo(folder) as echo,
        ):
            _pause(folder)
            headers = f"Authorization: Bearer {key}\r\nPrefer: respond-async\r\n"
            for number in range(rounds + 1):
                bodies = [
                    callers.change(f"u{number}-{n}@example.com", f"N3w-Passw0rd!{n}") for n in range(count)
                ]
                bare = asyncio.run(callers.as_fast_as_possible(echo.host, headers, "/", bodies, 32))
                real = asyncio.run(
                    callers.as_fast_as_possible(gateway.host, headers, "/sync/password", bodies, 32)
                )
                assert real.statuses == {202: count}, real.statuses
                if number:  # the first round warms up
                    ratios.append(bare.wall / real.wall)
                    rates.append(count / real.wall)
                    latencies.append(real.quantile(0.99))
    note = f"; {statistics.median(rates):.0f}/s, p99 {statistics.median(latencies):.0f} ms"
    return [ratio_row("accepts/s, durable, 32 callers, against a bare JSON echo", ratios, 0.2, note)]


def _pause(folder: Path) -> None:
    import subprocess

    environment = os.environ | {
        "PASSFERRY_STATE_DIR": str(folder / "state"),
        "PASSFERRY_KEY_FILE": str(folder / "keys" / "ring"),
        "GENESYS_CLIENT_ID": "simulator",
        "GENESYS_CLIENT_SECRET": "simulator-secret",
        "GENESYS_REGION": "us-east-1",
    }
    command = [sys.executable, "-m", "passferry", "orgs", "pause", "default"]
    subprocess.run(command, env=environment, check=True, capture_output=True)


# --- hashes ----------------------------------------------------------------------------------


def hashes(rounds: int) -> list[Row]:
    """Verifiers a second through our executor, against the library called from two threads."""
    count, ratios, rates = 12, [], []
    for _ in range(rounds):
        bare = _bare_hashes(count)
        ours = asyncio.run(_our_hashes(count))
        ratios.append(bare / ours)
        rates.append(count / ours)
    note = f"; {statistics.median(rates):.1f}/s"
    return [ratio_row("verifiers/s against argon2-cffi alone, at the same low priority", ratios, 0.95, note)]


def _bare_hashes(count: int) -> float:
    from concurrent.futures import ThreadPoolExecutor

    def one(number: int) -> None:
        hash_secret_raw(
            f"N3w-Passw0rd!{number}".encode(),
            os.urandom(16),
            time_cost=RECOMMENDED.passes,
            memory_cost=RECOMMENDED.memory,
            parallelism=RECOMMENDED.lanes,
            hash_len=32,
            type=Type.ID,
        )

    # At the priority that ours give themselves: what is compared is the library called with and without us.
    with ThreadPoolExecutor(2, initializer=_as_low_as_ours) as pool:
        started = time.perf_counter()
        list(pool.map(one, range(count)))
        return time.perf_counter() - started


def _as_low_as_ours() -> None:
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


async def _our_hashes(count: int) -> float:
    hasher = Argon2Hasher()
    try:
        started = time.perf_counter()
        await asyncio.gather(*(hasher.hash(Password(f"N3w-Passw0rd!{n}")) for n in range(count)))
        return time.perf_counter() - started
    finally:
        hasher.close()


# --- the burst -------------------------------------------------------------------------------


def burst(verifier: bool) -> list[Row]:
    """600 changes in 10 s against a target of 300 requests a minute and 60 ms: drained at the quota."""
    name = "verifier on" if verifier else "verifier off"
    settings = {"PASSFERRY_VERIFIER": "true" if verifier else "false"}
    options = ["--users", "700", "--rate", str(RATE), "--latency", str(LATENCY)]
    with (
        programs.folder() as folder,
        programs.simulator(folder, *options) as target,
        programs.gateway(folder, target.url, **settings) as (gateway, key),
    ):
        users = _users(target.url)
        noise = probe()
        headers = f"Authorization: Bearer {key}\r\nPrefer: respond-async\r\n"
        bodies = [callers.change(users[n], f"N3w-Passw0rd!{n}") for n in range(CHANGES)]
        started = time.perf_counter()
        answers = asyncio.run(callers.evenly(gateway.host, headers, "/sync/password", bodies, BURST_SECONDS))
        drained = _drained(target.url, started)
        stats = programs.get_json(f"{target.url}/simulator/stats")
        requests = int(str(stats["requests"])) - int(str(stats["tokenRequests"]))
        peak = gateway.peak_mib()
    quota = requests * 60.0 / RATE
    quiet = noise < 2.0
    p99 = answers.quantile(0.99)
    accepted = answers.statuses.get(202, 0) + answers.statuses.get(200, 0)
    return [
        Row(f"burst, {name}: accepted", f"{accepted} of {CHANGES}", f"{CHANGES}", _met(accepted == CHANGES)),
        Row(
            f"burst, {name}: accept p99",
            f"{p99:.0f} ms (idle probe {noise:.1f} ms late)",
            "≤ 50 ms",
            _met(p99 <= 50) if quiet else "not quiet: does not count",
        ),
        Row(f"burst, {name}: 429 caused", str(stats["rateLimited"]), "0", _met(stats["rateLimited"] == 0)),
        limit_row(f"burst, {name}: time over the quota's for the requests made", drained / quota, 1.05, " ×"),
        limit_row(f"burst, {name}: requests a change", requests / CHANGES, 2.0, ""),
        limit_row(f"burst, {name}: memory", peak, 256.0 if verifier else 128.0, " MiB"),
    ]


def _met(right: bool) -> str:
    return "met" if right else "missed"


def _users(target: str) -> list[str]:
    """Ids of active users, from the simulator's own page of data."""
    found: Any = programs.get_json(f"{target}/simulator/users")
    users = found["users"] if isinstance(found, dict) else found
    return [user["id"] for user in users if user["active"]]


def _drained(target: str, started: float) -> float:
    """Seconds until every change has been written."""
    while time.perf_counter() - started < 600:
        if int(str(programs.get_json(f"{target}/simulator/stats")["usersWritten"])) >= CHANGES:
            return time.perf_counter() - started
        time.sleep(0.25)
    raise TimeoutError("the burst was not drained within ten minutes")


# --- the record ------------------------------------------------------------------------------


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| what | measured | wanted | |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def main() -> None:
    """Measure and print; with ``--record`` also write a dated page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=["burst", "accepts", "hashes"])
    parser.add_argument("--record", type=Path, help="folder for a dated page")
    chosen = parser.parse_args()
    rows: list[Row] = []
    if chosen.only in (None, "accepts"):
        rows += accepts(chosen.rounds)
    if chosen.only in (None, "hashes"):
        rows += hashes(chosen.rounds)
    if chosen.only in (None, "burst"):
        rows += burst(True) + burst(False)
    now = datetime.now(UTC)
    page = (
        f"# Measured {now:%Y-%m-%d}\n\n`make bench`, {chosen.rounds} rounds, {os.cpu_count()} processors, "
        f"Python {platform.python_version()}. Median (smallest to largest).\n\n{table(rows)}\n"
    )
    print(page)
    if chosen.record:
        chosen.record.mkdir(parents=True, exist_ok=True)
        (chosen.record / f"{now:%Y-%m-%d}.md").write_text(page)


if __name__ == "__main__":
    main()
