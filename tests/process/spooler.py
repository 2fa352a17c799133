"""Spools letters one after the other, and says each name once it is durable; to be killed at any moment.

The disk is slow between the making of a file and its content, so that kills fall there, too.
"""

import os
import sys
import time
from pathlib import Path

from passferry.domain.password import Password
from passferry.hand_over import Letter, public_of, seal
from passferry.hooks.spool import Spool

PRIVATE = bytes(range(64, 96))


def main() -> None:
    """``python -m process.spooler FOLDER``."""
    spool = Spool(Path(sys.argv[1]), 100_000)
    real = os.open

    def slow(path: str, flags: int, mode: int = 0o777) -> int:
        opened = real(path, flags, mode)
        time.sleep(0.003 if flags & os.O_EXCL else 0.0)
        return opened

    os.open = slow  # type: ignore[assignment]
    number = 0
    while True:
        number += 1
        letter = Letter("jane", Password(f"Horse-{number}"), "2026-11-24T09:30:00Z", f"k{number}")
        put = spool.put(seal(public_of(PRIVATE), letter.plaintext()), time.time())
        print(number, put.path.name, flush=True)


if __name__ == "__main__":
    main()
