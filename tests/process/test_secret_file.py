"""A client secret is replaced at Genesys Cloud and in its file while the gateway runs."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from passferry.simulator import Settings

from .harness import Client, Home, Running, StandIn, home, until

CALM = Settings.calm(rate=100_000)
OLD, NEW = "simulator-secret", "Canary-secret-replaced-77"


@contextmanager
def _gateway(root: Path, target: StandIn) -> Iterator[tuple[Home, Running, Path]]:
    file = root / "genesys-secret"
    file.write_text(OLD + "\n")
    urls = target.settings()
    del urls["GENESYS_CLIENT_SECRET"]
    with home(root / "home", urls | {"GENESYS_CLIENT_SECRET_FILE": str(file)}) as place:
        yield place, place.serve(), file


def _new_secret(target: StandIn) -> None:
    """As Genesys Cloud does it: the old secret is void at once; here its tokens are ended, too."""
    target.do(lambda s: s.change_secret("simulator", NEW))
    target.do(lambda s: s.revoke_tokens())


def test_an_org_whose_secret_was_replaced_goes_on_as_soon_as_the_file_is(tmp_path: Path) -> None:
    """It pauses itself, and the file ends the pause: no restart, and not the half minute of a probe."""
    with StandIn(CALM, users=20) as target, _gateway(tmp_path, target) as (place, running, file):
        client = Client(running.url, place.key())
        (first, _), (second, _), *_ = target.active_users()
        assert client.send(first, "Correct-Horse-1").status == 200
        _new_secret(target)
        waiting = client.later(second, "Correct-Horse-2")
        until(lambda: running.events("org.paused"), 20, "the pause")
        file.write_text("")  # halfway through its replacement: nothing is forgotten
        until(lambda: running.events("secret.not.read"), 10, "the empty file is seen")
        started = time.monotonic()
        file.write_text(NEW + "\n")
        assert client.ends(waiting, seconds=20)["status"] == "applied"
        assert time.monotonic() - started < 15
        assert target.passwords(second) == ["Correct-Horse-2"]
        resumed = until(lambda: running.events("org.resumed"), 10, "the end of the pause")
        assert [entry["code"] for entry in resumed] == ["invalid_client"]
        assert OLD not in running.log()
        assert NEW not in running.log()


def test_a_secret_that_was_replaced_in_time_is_never_noticed(tmp_path: Path) -> None:
    """File and target agree again before the next token is fetched: nothing fails and nothing pauses."""
    with StandIn(CALM, users=20) as target, _gateway(tmp_path, target) as (place, running, file):
        client = Client(running.url, place.key())
        (first, _), (second, _), *_ = target.active_users()
        assert client.send(first, "Correct-Horse-1").status == 200
        file.write_text(NEW)
        _new_secret(target)
        assert client.send(second, "Correct-Horse-2").status == 200
        assert running.events("org.paused") == []
        listed = json.loads(place.run("orgs", "list", "--json").out)["orgs"][0]
        assert listed["paused"] is None
