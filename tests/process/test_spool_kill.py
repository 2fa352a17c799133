"""kill -9 while letters are spooled: what was said to be spooled is there, and everything there is whole."""

import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

from passferry.hand_over import opened
from passferry.hooks.spool import LEFT_SECONDS, Spool
from process.spooler import PRIVATE

ROUNDS = 12


def test_a_kill_while_spooling_loses_no_letter_and_leaves_no_half_one(tmp_path: Path) -> None:
    """Twelve kills at random moments; every letter opens, and every one that was reported is among them."""
    draw = random.Random(5)
    spool = Spool(tmp_path / "spool", 100_000)
    said: dict[str, str] = {}
    for number in range(ROUNDS):
        report = tmp_path / f"{number}.out"
        with report.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "process.spooler", str(spool.folder)],
                stdout=out,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )
        while not report.stat().st_size:
            assert process.poll() is None
            time.sleep(0.005)
        time.sleep(draw.random() * 0.05)
        process.kill()
        process.wait(10)
        whole = report.read_text().splitlines(keepends=True)
        said.update((line.split()[1], line.split()[0]) for line in whole if line.endswith("\n"))
    found = {}
    for letter in spool.waiting():
        plaintext = opened(PRIVATE, letter.read() or b"")
        assert plaintext is not None, letter.path
        found[letter.path.name] = json.loads(plaintext)["idempotencyKey"].removeprefix("k")
    assert len(said) >= ROUNDS
    assert said.items() <= found.items()
    spool.sweep(time.time() + LEFT_SECONDS + 1)
    assert list(spool.folder.glob(".*")) == []
