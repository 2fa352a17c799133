"""Where the processor time of an accept, or of a delivery, goes: what the next doubling would have to take.

python bench/cpu_profile.py accept|deliver [--changes 2000]
"""

import argparse
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import programs
from drains import UNHURRIED, drain

SAMPLED = (str(Path(__file__).with_name("sampled.py")),)


def main() -> None:
    """Run a gateway under the sampler, load it, and print what it says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["accept", "deliver"])
    parser.add_argument("--changes", type=int, default=2000)
    chosen = parser.parse_args()
    with programs.folder() as folder:
        options = ["--users", str(2 * chosen.changes), "--rate", "10000000"]
        settings = UNHURRIED | {"PASSFERRY_VERIFIER": "false"}
        with (
            programs.simulator(folder, *options) as target,
            programs.gateway(folder, target.url, SAMPLED, **settings) as gateway,
        ):
            users = programs.users(target)[: chosen.changes]
            gateway.process.send_signal(signal.SIGUSR2)  # its start is not what is asked for
            before = gateway.cpu_seconds()
            done = drain(gateway, target, users, "profile", deliver=chosen.what == "deliver")
            accepting = gateway.cpu_seconds() - before - done.cpu
            print(f"{1000 * accepting / len(users):.2f} ms of processor time an accept")
            if chosen.what == "deliver":
                print(f"{1000 * done.cpu / len(users):.2f} ms a delivery; the table is of both")
        print((folder / "gateway.log").read_text().partition("\nprocessor time")[2])


if __name__ == "__main__":
    main()
