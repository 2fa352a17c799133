"""`make bench`: the figures that this project wants to reach, measured on this machine.

    python bench/run.py [--only NAME …] [--rounds 5] [--scale 1] [--record docs/benchmarks]

The record has a page a day, and on it a section for each run: hours of measuring can be had in parts.
Each row is a ratio to a bare part in the same round, or a bound. See `figures.py` for when one counts.
"""

import argparse
import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import accepts
import away
import burst
import delivery_cpu
import hashes
import idle
import many_orgs
import starts
import stored
from figures import Asked, Row, table

SUBJECTS: dict[str, Callable[[Asked], list[Row]]] = {
    "starts": starts.rows,
    "accepts": accepts.on_sqlite,
    "accepts-postgresql": accepts.on_postgresql,
    "cpu": delivery_cpu.rows,
    "hashes": hashes.rows,
    "idle": idle.rows,
    "orgs": many_orgs.rows,
    "stored": stored.rows,
    "away": away.rows,
    "burst": burst.rows,
}


def main() -> None:
    """Measure and print; with ``--record`` also write a dated page and a plot of the burst."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=SUBJECTS, nargs="+", default=list(SUBJECTS))
    parser.add_argument("--scale", type=float, default=1.0, help="smaller loads, for a first look")
    parser.add_argument("--record", type=Path, help="folder for a dated page")
    chosen = parser.parse_args()
    asked = Asked(chosen.rounds, chosen.scale)
    rows = [row for name in chosen.only for row in _measured(name, asked)]
    page = _page(rows, asked)
    print(page)
    if chosen.record:
        _record(chosen.record, page, asked.pictures)


def _measured(name: str, asked: Asked) -> list[Row]:
    """The rows of a subject. One that cannot be measured is a row that says so, not the end of the others."""
    print(f"{datetime.now(UTC):%H:%M:%S} {name}", file=sys.stderr, flush=True)
    try:
        return SUBJECTS[name](asked)
    except Exception as error:  # noqa: BLE001  # hours of other figures are worth more
        print(f"{name}: {error!r}", file=sys.stderr)
        return [Row(name, f"not measured: {type(error).__name__}", "", "not measured")]


def _page(rows: list[Row], asked: Asked) -> str:
    smaller = f", loads × {asked.scale:g}" if asked.scale != 1 else ""
    return (
        f"## Until {datetime.now(UTC):%H:%M} UTC\n\n"
        f"`make bench`: {asked.rounds} rounds{smaller}, {os.cpu_count()} processors, {_memory()}, "
        f"Linux {platform.release()}, Python {platform.python_version()}. Median (smallest to largest).\n\n"
        f"{table(rows)}\n"
    )


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"


def _record(folder: Path, page: str, pictures: dict[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    for name, svg in pictures.items():
        (folder / f"{day}-{name}.svg").write_text(svg)
        page += f"\n![{name}]({day}-{name}.svg)\n"
    whole = folder / f"{day}.md"
    before = whole.read_text() if whole.exists() else f"# Measured {day}\n"
    whole.write_text(f"{before}\n{page}")


if __name__ == "__main__":
    main()
