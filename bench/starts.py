"""Until the gateway is ready, against its imports alone; `--help`, against a bare typer program."""

import subprocess
import sys
import time
from pathlib import Path

import programs
from figures import Asked, Row, at_most, spread

IMPORTS = "import passferry.entrypoints.cli, passferry.entrypoints.serve, uvloop, passferry.adapters.meter"
"""What `serve` imports before it is ready."""

BARE = """
import typer
app = typer.Typer(rich_markup_mode=None, add_completion=False)
@app.command()
def main(name: str = "") -> None:
    print(name)
app()
"""
"""No less than ours has: with rich, which `typer` uses unless told otherwise, it takes twice as long."""

STARTS = 5
"""Of each, in a round."""


def rows(asked: Asked) -> list[Row]:
    """Both, in turns."""
    with programs.folder() as folder:
        (folder / "bare.py").write_text(BARE)
        environment = programs.environment(folder)
        _ready(folder, environment)  # makes the state, and warms up
        return [_ready_row(folder, environment, asked), _help_row(folder, asked)]


def _ready_row(folder: Path, environment: dict[str, str], asked: Asked) -> Row:
    ratios, taken = [], []
    for _ in range(asked.rounds):
        ready = min(_ready(folder, environment) for _ in range(STARTS))
        bare = min(_ended(["-c", IMPORTS], environment) for _ in range(STARTS))
        ratios.append(ready / bare)
        taken.append(1000 * ready)
    note = f"; {spread(taken, ' ms')}"
    return at_most("ready after start, against the imports alone", ratios, 1.5, note=note)


def _help_row(folder: Path, asked: Asked) -> Row:
    ratios, taken = [], []
    for _ in range(asked.rounds):
        ours = min(_ended(["-m", "passferry", "--help"], {}) for _ in range(STARTS))
        bare = min(_ended([str(folder / "bare.py"), "--help"], {}) for _ in range(STARTS))
        ratios.append(ours / bare)
        taken.append(1000 * ours)
    return at_most("`--help`, against a bare typer program", ratios, 1.5, note=f"; {spread(taken, ' ms')}")


def _ended(arguments: list[str], environment: dict[str, str]) -> float:
    """Seconds that a program takes in all."""
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        env=programs.inherited() | environment,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    return time.perf_counter() - started


def _ready(folder: Path, environment: dict[str, str]) -> float:
    """Seconds until `serve` says where it listens."""
    command = ["-m", "passferry", "serve", "--listen", "127.0.0.1:0"]
    started = time.perf_counter()
    with programs.program(command, environment, folder / "gateway.log"):
        return time.perf_counter() - started
