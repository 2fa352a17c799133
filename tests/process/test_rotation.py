"""`keys rotate` beside a running gateway, and killed."""

import json
import random
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from passferry.simulator import Settings
from passferry.state import ROTATION_LOCK

from .harness import Client, StandIn, call, genesys, home, until

CALM = Settings.calm(rate=100_000)


def _last_is(target: StandIn, user: str, password: str) -> bool:
    return target.passwords(user)[-1:] == [password]


def _code(change: dict[str, Any]) -> Any:
    """The code of its error; a change that was not tried yet may show why its org is paused."""
    return change["error"] and change["error"]["code"]


def test_rotations_beside_a_busy_gateway_refuse_and_lose_nothing(tmp_path: Path) -> None:
    """Rotations run and are killed while changes come in: all are accepted, each user gets the newest."""
    seed = random.Random(5)
    with StandIn(CALM, users=20) as target, home(tmp_path / "home", genesys(target.url)) as place:
        key, url = place.key(), place.serve().url
        users = target.active_users()[:8]
        wanted: dict[str, str] = {}
        failures: list[str] = []
        done = threading.Event()

        def push() -> None:
            client, number = Client(url, key), 0
            while not done.is_set():
                user, number = users[number % len(users)][0], number + 1
                answer = client.send(user, f"Correct-Horse-{number}", prefer="respond-async")
                if answer.status not in (200, 202):
                    failures.append(f"{answer.status} {answer.raw!r}")
                wanted[user] = f"Correct-Horse-{number}"

        pusher = threading.Thread(target=push)
        pusher.start()
        try:
            finished = 0
            for _ in range(3):
                rotation = place.spawn("keys", "rotate")
                time.sleep(seed.uniform(0.5, 1.5))
                rotation.kill()
                finished += place.run("keys", "rotate").code == 0
        finally:
            done.set()
            pusher.join(60)
        assert (failures, finished) == ([], 3)
        for user, password in wanted.items():
            until(partial(_last_is, target, user, password), 60, f"{user} gets {password}")
        assert len(json.loads(place.ring.read_text())["keys"]) == 1
        user, password = next(iter(wanted.items()))
        until(lambda: place.run("verify", user, stdin=password.encode()).code == 0, 20, "verify")
        assert place.run("audit", "verify").code == 0
        assert call("GET", f"{url}/readyz").status == 200


def test_a_gateway_whose_ring_lacks_the_key_waits_and_says_so(tmp_path: Path) -> None:
    """With the old ring: 503, the stored change stays pending, `/readyz` says why; then all is well."""
    with StandIn(CALM, users=20) as target, home(tmp_path / "home", genesys(target.url)) as place:
        key, url = place.key(), place.serve().url
        client, user = Client(url, key), target.active_users()[0][0]
        operator = place.key("desk", "--role", "operator")
        before = place.ring.read_bytes()
        assert place.run("orgs", "pause", "default").code == 0
        change = client.later(user, "Correct-Horse-1")
        assert place.run("keys", "rotate").code == 0
        after = place.ring.read_bytes()
        place.ring.write_bytes(before)
        assert client.send(user, "Correct-Horse-2").json["code"] == "key.missing"
        assert call("GET", f"{url}/readyz").status == 503
        assert call("POST", f"{url}/orgs/default/resume", key=operator).status == 200
        until(lambda: _code(client.change(change)) == "key.missing", 20, "a try of the change")
        waiting = client.change(change)
        assert (waiting["status"], waiting["attempts"]) == ("pending", 0)
        assert call("GET", f"{url}/readyz", key=operator).json["errors"]
        place.ring.write_bytes(after)
        assert call("GET", f"{url}/readyz").status == 200
        assert call("POST", f"{url}/changes/{change}/retry", key=operator).status == 200
        client.ends(change, "applied")
        assert target.passwords(user)[-1] == "Correct-Horse-1"


def test_a_rotation_killed_at_random_is_finished_by_the_next(tmp_path: Path) -> None:
    """kill -9 at random moments of its start and work, without a gateway: the ring is always usable."""
    seed = random.Random(7)
    with home(tmp_path / "home", genesys("http://127.0.0.1:9")) as place:
        place.key()
        for _ in range(4):
            rotation = place.spawn("keys", "rotate")
            time.sleep(seed.uniform(0.3, 1.2))
            rotation.kill()
            assert place.run("changes", "list").code == 0
        assert place.run("keys", "rotate").code == 0
        assert len(json.loads(place.ring.read_text())["keys"]) == 1
        left = {each.name for each in place.ring.parent.iterdir()}
        assert left == {place.ring.name, ROTATION_LOCK}
