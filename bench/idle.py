"""What a thousand orgs cost while nothing happens: processor time of `serve`."""

import time

import orgs_file
import programs
from figures import Asked, Row, at_most

ORGS, SETTLE_SECONDS, WATCH_SECONDS = 1000, 10.0, 60.0


def rows(asked: Asked) -> list[Row]:
    """One process, watched in windows of a minute."""
    shares = []
    with programs.folder() as folder:
        settings = orgs_file.write(folder, asked.scaled(ORGS), "http://127.0.0.1:9")
        command = ["-m", "passferry", "serve", "--listen", "127.0.0.1:0"]
        with programs.program(command, settings, folder / "gateway.log") as running:
            time.sleep(SETTLE_SECONDS)
            for _ in range(asked.rounds):
                before = running.cpu_seconds()
                time.sleep(WATCH_SECONDS * min(1.0, asked.scale))
                used = running.cpu_seconds() - before
                shares.append(100 * used / (WATCH_SECONDS * min(1.0, asked.scale)))
    return [at_most(f"{asked.scaled(ORGS)} idle orgs, of one core", shares, 1.0, " %")]
