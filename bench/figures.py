"""Rows of the table, and when a figure counts.

A figure is the median of its rounds with its spread. A bound inside the spread is "not distinguishable":
neither met nor missed. A figure in absolute time counts only where the machine was quiet just before.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

QUIET = 2.0
"""Milliseconds by which short sleeps may wake up late on a quiet machine."""


@dataclass
class Asked:
    """How much to measure."""

    rounds: int
    scale: float = 1.0  # of the loads; below 1 for a first look
    pictures: dict[str, str] = field(default_factory=dict)  # name to SVG: what a subject drew

    def scaled(self, count: int, least: int = 8) -> int:
        """``count`` at this scale."""
        return max(least, int(count * self.scale))


class Row(NamedTuple):
    """One line of the table."""

    what: str
    measured: str
    wanted: str
    verdict: str


def noise() -> float:
    """How late short sleeps wake up, in milliseconds (the worst of 100): small on a quiet machine."""
    worst = 0.0
    for _ in range(100):
        started = time.perf_counter()
        time.sleep(0.001)
        worst = max(worst, time.perf_counter() - started - 0.001)
    return worst * 1000


def at_least(what: str, figures: Sequence[float], bound: float, unit: str = " ×", note: str = "") -> Row:
    """A figure that is to reach ``bound``."""
    met, missed = min(figures) >= bound, max(figures) < bound
    return Row(what, spread(figures, unit) + note, f"≥ {bound:g}{unit}", _verdict(met, missed))


def at_most(what: str, figures: Sequence[float], bound: float, unit: str = " ×", note: str = "") -> Row:
    """A figure that must not exceed ``bound``."""
    met, missed = max(figures) <= bound, min(figures) > bound
    return Row(what, spread(figures, unit) + note, f"≤ {bound:g}{unit}", _verdict(met, missed))


def at_most_when_quiet(what: str, rounds: Sequence[tuple[float, float]], bound: float, unit: str) -> Row:
    """An absolute figure, from pairs of (figure, noise before it): those of quiet rounds count."""
    quiet = [figure for figure, late in rounds if late < QUIET]
    note = f"; {len(quiet)} of {len(rounds)} rounds were quiet"
    if not quiet:
        everything = spread([figure for figure, _ in rounds], unit)
        return Row(what, everything + note, f"≤ {bound:g}{unit}", "does not count")
    return at_most(what, quiet, bound, unit, note)


def exactly(what: str, counts: Sequence[int], wanted: int) -> Row:
    """A count that must be ``wanted`` in every round."""
    text = ", ".join(str(count) for count in dict.fromkeys(counts))
    return Row(what, text, str(wanted), _verdict(set(counts) == {wanted}, True))


def spread(figures: Sequence[float], unit: str = "") -> str:
    """The median, and from the smallest to the largest where there are several."""
    middle = f"{_digits(statistics.median(figures))}{unit}"
    if len(figures) == 1:
        return f"{middle} (once)"
    return f"{middle} ({_digits(min(figures))} to {_digits(max(figures))})"


def _digits(figure: float) -> str:
    """Three digits that say something."""
    return (
        f"{figure:.0f}" if abs(figure) >= 100 else f"{figure:.1f}" if abs(figure) >= 10 else f"{figure:.2f}"
    )


def _verdict(met: bool, missed: bool) -> str:
    return "met" if met else "missed" if missed else "not distinguishable"


def table(rows: Sequence[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| what | measured | wanted | |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])
