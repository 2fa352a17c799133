"""Runs ``passferry``, and writes what it tells the machine's log into `machine.log` where it was started."""

import syslog
from pathlib import Path

from passferry.__main__ import main

LOG = Path("machine.log").absolute()


def told(level: int, text: str) -> None:
    """Stands in for syslog(3)."""
    with LOG.open("a") as log:
        log.write(f"{level} {text}\n")


syslog.syslog = told  # type: ignore[assignment]
main()
