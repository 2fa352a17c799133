"""Starts that must be refused: what is said, with which exit code, and that nothing is lost."""

import re
import shutil
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import postgres
from passferry.simulator import Settings
from process.harness import Client, Home, StandIn, genesys, home, until

NOWHERE = genesys("http://127.0.0.1:1")
SECRETS = ("Very-secret-client-9", "Secret-in-a-url-8", "Secret-of-a-database-7")


def refused(place: Home, env: dict[str, str] | None = None, *options: str, code: int = 2) -> str:
    """What ``serve`` says when it does not start, which it must not."""
    done = place.run("serve", "--listen", "127.0.0.1:0", *options, env=env)
    assert done.code == code, done.text
    assert "Traceback" not in done.text
    assert "hint" in done.text
    return done.text


def test_all_mistakes_of_a_configuration_are_said_at_once_and_no_secret_is(tmp_path: Path) -> None:
    """Exit code 2, every wrong variable named, nothing created, nothing secret printed."""
    wrong = {
        "GENESYS_REGION": "atlantis-1",
        "GENESYS_RATE": "fast",
        "GENESYS_WRITE": "telepathy",
        "GENESYS_CLIENT_SECRET": SECRETS[0] + "\n\nsecond line",
        "GENESYS_API_URL": f"https://user:{SECRETS[1]}@api.example.com",
        "PASSFERRY_DATABASE_URL": f"mysql://me:{SECRETS[2]}@db/passferry",
        "PASSFERRY_ORGS_DEFAULT_REQUEST_TIMEOUT": "-1",
        "PASSFERRY_WAIT_SECONDS": "99",
        "PASSFERRY_STATE_DIRS": "1",
    }
    with home(tmp_path / "gateway", NOWHERE) as place:
        text = refused(place, wrong)
        assert [name for name in wrong if name not in text] == []
        assert [secret for secret in SECRETS if secret in text] == []
        assert not place.state.exists()
        assert not place.ring.exists()


def test_without_any_org_it_does_not_start(tmp_path: Path) -> None:
    """Exit code 2 and the variables that are needed."""
    with home(tmp_path / "gateway", {}) as place:
        assert "GENESYS_CLIENT_ID" in refused(place)


def a_folder(ring: Path) -> None:
    """A folder where the ring was, as container mounts make it."""
    ring.unlink()
    ring.mkdir()


SPOILT: list[tuple[str, Callable[[Path], object], str]] = [
    ("readable by the group", lambda ring: ring.chmod(0o640), "chmod 600"),
    ("readable by all", lambda ring: ring.chmod(0o604), "chmod 600"),
    ("empty", lambda ring: ring.write_bytes(b""), "key ring"),
    ("cut off", lambda ring: ring.write_bytes(ring.read_bytes()[:-20]), "key ring"),
    ("garbage", lambda ring: ring.write_bytes(b"\xff\x00" * 500), "key ring"),
    ("a folder", a_folder, "key file"),
    ("gone", lambda ring: ring.unlink(), "back-up"),
]


def test_state_that_does_not_fit_is_refused_and_what_was_accepted_survives(tmp_path: Path) -> None:
    """A bad, missing or foreign ring, a newer database: exit code 2; put right, the change is delivered."""
    with StandIn(Settings.calm(rate=100_000), users=12) as target:
        user = target.active_users()[0][0]
        with home(tmp_path / "gateway", target.settings(), PASSFERRY_VERIFIER="false") as place:
            key = place.key()
            away = {"GENESYS_API_URL": "http://127.0.0.1:1", "GENESYS_LOGIN_URL": "http://127.0.0.1:1"}
            first = place.serve(env=away)
            change = Client(first.url, key).later(user, "Waiting-Pass-1!")
            assert first.stop() == 0
            kept = tmp_path / "kept"
            shutil.copy2(place.ring, kept)
            for name, spoil, said in SPOILT:
                spoil(place.ring)
                text = refused(place)
                assert said in text, (name, text)
                assert str(place.ring) in text, (name, text)
                assert name != "gone" or not place.ring.exists()  # a new ring would make the old unreadable
                if place.ring.is_dir():
                    place.ring.rmdir()
                shutil.copy2(kept, place.ring)
            foreign_ring(place, tmp_path)
            shutil.copy2(kept, place.ring)
            newer_database(place)
            beside = {"PASSFERRY_KEY_FILE": str(place.state / "ring")}
            assert "key" in refused(place, beside)
            client = Client(place.serve().url, key)
            assert client.ends(change, "applied")["evidence"] == "confirmed"
            assert target.passwords(user) == ["Waiting-Pass-1!"]


def foreign_ring(place: Home, tmp_path: Path) -> None:
    """The ring of another gateway opens nothing here."""
    with home(tmp_path / "other", NOWHERE) as other:
        other.key()
        shutil.copy2(other.ring, place.ring)
    assert "PASSFERRY_KEY_FILE" in refused(place)


def newer_database(place: Home) -> None:
    """A database of a version to come is left alone."""
    with closing(sqlite3.connect(place.state / "passferry.db")) as database:
        (version,) = database.execute("SELECT value FROM meta WHERE name = 'version'").fetchone()
        database.execute("UPDATE meta SET value = '999' WHERE name = 'version'")
        database.commit()
        assert "999" in refused(place)
        database.execute("UPDATE meta SET value = ? WHERE name = 'version'", (version,))
        database.commit()


def test_a_second_gateway_names_the_first_and_a_taken_port_is_named(tmp_path: Path) -> None:
    """One process a state directory, one a port; the first is not disturbed."""
    with home(tmp_path / "gateway", NOWHERE) as place, home(tmp_path / "other", NOWHERE) as other:
        first = place.serve()
        key = place.key()
        assert re.search(rf"\b{first.pid}\b", refused(place))
        port = first.url.rpartition(":")[2]
        taken = other.run("serve", "--listen", f"127.0.0.1:{port}")
        assert taken.code == 2
        assert f"127.0.0.1:{port}" in taken.text
        taken = other.run("simulate", "--listen", f"127.0.0.1:{port}")
        assert taken.code == 2
        assert (
            Client(first.url, key).send(str(uuid.uuid4()), "Still-here-1!", prefer="respond-async").status
            == 202
        )
        first.kill()
        assert (
            Client(place.serve().url, key).send(str(uuid.uuid4()), "short").status == 400
        )  # no lock is left


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_a_state_directory_that_others_may_write_to_is_refused(tmp_path: Path, mode: int) -> None:
    """Exit code 2 with the command that mends it."""
    with home(tmp_path / "gateway", NOWHERE) as place:
        place.state.mkdir(parents=True)
        place.state.chmod(mode)
        assert "chmod 700" in refused(place)


def test_hold_is_refused_while_another_process_would_deliver(tmp_path: Path) -> None:
    """On PostgreSQL any of them would send what is to be parked. It is named; without it, hold starts."""
    with (
        postgres.server().database() as url,
        home(tmp_path / "gateway", NOWHERE, PASSFERRY_DATABASE_URL=url) as place,
    ):
        assert place.run("keys", "create").code == 0
        other = place.spawn("worker")
        until(lambda: other.events("delivery.started"), what="a worker that delivers")
        assert f":{other.pid}" in refused(place, None, "--hold")
        assert other.stop() == 0
        assert place.serve("--hold").stop() == 0


def no_database(place: Home) -> None:
    """Something else under its name."""
    (place.state / "passferry.db").write_bytes(b"no database at all" * 100)


def a_file(place: Home) -> None:
    """A file where the state directory should be."""
    shutil.rmtree(place.state)
    place.state.write_text("")


def below_a_file(place: Home) -> None:
    """A file in the way to the state directory."""
    a_file(place)
    place.more = {"PASSFERRY_STATE_DIR": str(place.state / "below")}


def a_folder_for_a_database(place: Home) -> None:
    """A folder where the database should be, as container mounts make it."""
    (place.state / "passferry.db").unlink()
    (place.state / "passferry.db").mkdir()


@pytest.mark.parametrize("spoil", [no_database, a_file, below_a_file, a_folder_for_a_database])
def test_a_state_that_cannot_be_opened_is_refused_by_serve_and_commands(
    tmp_path: Path, spoil: Callable[[Home], None]
) -> None:
    """Exit code 2, the path and a hint, and no traceback."""
    with home(tmp_path / "gateway", NOWHERE) as place:
        place.key()
        spoil(place)
        assert str(place.state) in refused(place)
        done = place.run("access", "list")
        assert (done.code, "Traceback" in done.text, "hint" in done.text) == (2, False, True), done.text


def test_a_database_that_another_program_holds_may_be_tried_again(tmp_path: Path) -> None:
    """Exit code 3 for `serve` and for a command."""
    with home(tmp_path / "gateway", NOWHERE) as place:
        place.key()
        with closing(sqlite3.connect(place.state / "passferry.db", isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            other = place.spawn("access", "list")
            assert "locked" in refused(place, code=3)
            assert other.process.wait(60) == 3
            assert "Traceback" not in other.log()
