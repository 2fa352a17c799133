"""Runs `passferry` and notes where its processor time goes; a table on standard error when it ends.

    python bench/sampled.py serve --listen 127.0.0.1:0

A timer of processor time interrupts the main thread; every thread's time since the last look is charged to
where it then stands. Threads that wait cost nothing and are charged nothing. The sampler itself costs a few
percent. SIGUSR2 makes it forget what it saw so far.
"""

import atexit
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from types import FrameType

EVERY = 0.002
"""Seconds of processor time between two looks."""

MOST_LINES = 25


class Sampler:
    """Where processor seconds went: by package of the innermost frame, and by our innermost function."""

    def __init__(self) -> None:
        self._seen: dict[int, float] = {}
        self.by_package: Counter[str] = Counter()
        self.by_function: Counter[str] = Counter()

    def __call__(self, _: int, main: FrameType | None) -> None:
        """Charge every thread."""
        frames = sys._current_frames()
        for ident, frame in frames.items():
            used = time.clock_gettime(time.pthread_getcpuclockid(ident))
            spent, self._seen[ident] = used - self._seen.get(ident, used), used
            inner = main if frame.f_code is self.__call__.__code__ else frame
            if spent > 0 and inner is not None:
                self.by_package[_package(inner)] += spent  # type: ignore[assignment]
                self.by_function[_function(inner)] += spent  # type: ignore[assignment]

    def forget(self, *_: object) -> None:
        """Start anew: what was before is not of interest."""
        self.by_package.clear()
        self.by_function.clear()

    def report(self) -> None:
        """Print both views."""
        for title, counted in (("package", self.by_package), ("function of ours", self.by_function)):
            total = sum(counted.values()) or 1
            print(f"\nprocessor time by {title} (of {total:.2f} s)", file=sys.stderr)
            for name, seconds in counted.most_common(MOST_LINES):
                print(f"{100 * seconds / total:6.1f} %  {name}", file=sys.stderr)


def _package(frame: FrameType) -> str:
    parts = Path(frame.f_code.co_filename).parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    if "passferry" in parts:
        return "/".join(parts[parts.index("passferry") :][:3])
    return parts[-1] if parts else "?"


def _function(frame: FrameType) -> str:
    at: FrameType | None = frame
    while at is not None:
        path = at.f_code.co_filename
        if "/passferry/" in path and not path.endswith(("__main__.py", "cli_state.py")):
            return f"{path.rpartition('/passferry/')[2]} {at.f_code.co_qualname}"
        at = at.f_back
    return f"none: {_package(frame)}"


if __name__ == "__main__":
    from passferry.entrypoints.cli import main

    sampler = Sampler()
    atexit.register(sampler.report)
    signal.signal(signal.SIGPROF, sampler)
    signal.signal(signal.SIGUSR2, sampler.forget)
    signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)
    main()
