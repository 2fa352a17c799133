"""``passferry audit export`` and ``prune``, and ``verify`` of files."""

import asyncio
import json
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from passferry import state
from passferry.adapters.store_audit import SqlAuditStore
from passferry.config import Settings, load_settings
from passferry.domain.accepting import NewChange, judge
from passferry.domain.change import Reference
from passferry.store_ports import StoreAway, TrailMoved

Cli = Callable[..., Any]
LONG_AGO = 1_500_000_000.0
RECORDS = 4


@pytest.fixture
def store(clean: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A state whose trail has four records, all of them older than any retention."""
    monkeypatch.setenv("GENESYS_REGION", "us-east-1")
    monkeypatch.setenv("GENESYS_CLIENT_ID", "client")
    monkeypatch.setenv("GENESYS_CLIENT_SECRET", "secret")
    settings = load_settings(None)
    asyncio.run(_fill(settings, RECORDS))
    return settings


async def _fill(settings: Settings, count: int, org: str = "default") -> None:
    stores = state.open_stores(settings, LONG_AGO, create=True)
    try:
        for number in range(count):
            at = LONG_AGO + number
            user = Reference("userName", f"user{number}@example.com")
            change = NewChange(
                f"{org}{number}", org, user, "hr", b"", at, expires_at=at + 60, same=lambda live: False
            )
            await stores.accept.accept([change], judge)
    finally:
        stores.database.close()


def documents(done: Any) -> list[dict[str, Any]]:
    """What a command says of each org."""
    assert done.code == 0, done.err
    found: list[dict[str, Any]] = json.loads(done.out)["orgs"]
    return found


def test_an_export_verifies_with_the_key_ring_alone(cli: Cli, store: Settings, clean: Path) -> None:
    """The file is its owner's; its head is the trail's; the database need not be there to check it."""
    (told,) = documents(cli("audit", "export", "trail.jsonl", "--json"))
    assert (told["records"], told["after"]) == (RECORDS, 0)
    assert stat.S_IMODE((clean / "trail.jsonl").stat().st_mode) == 0o600
    assert cli("audit", "verify", "--head", told["head"]).code == 0
    (store.state_dir / state.DATABASE_FILE).unlink()
    done = cli("audit", "verify", "--file", "trail.jsonl", "--head", told["head"])
    assert (done.code, done.out.split()[-1]) == (0, "ok")
    assert cli("audit", "verify", "--file", "trail.jsonl", "--head", "2:" + "0" * 64).code == 1
    (found,) = documents(cli("audit", "verify", "--file", "trail.jsonl", "--json"))
    assert (found["records"], found["head"], found["base"], found["ok"]) == (
        RECORDS,
        told["head"],
        None,
        True,
    )


def test_exports_go_on_and_join(cli: Cli, store: Settings, clean: Path) -> None:
    """Each file begins where the one before ended; all of them are checked together, in their order."""
    assert cli("audit", "export", "one.jsonl").code == 0
    cli("changes", "cancel", "default1")
    (told,) = documents(cli("audit", "export", "two.jsonl", "--json"))
    assert (told["after"], told["records"]) == (RECORDS, 2)
    kinds = [json.loads(line)["kind"] for line in (clean / "two.jsonl").read_text().splitlines()]
    assert kinds == ["audit.exported", "cancel"]
    assert cli("audit", "verify", "--file", "one.jsonl", "--file", "two.jsonl").code == 0
    done = cli("audit", "verify", "--file", "two.jsonl", "--file", "one.jsonl")
    assert (done.code, "one.jsonl is no sound export" in done.err) == (1, True)


def test_standard_output_gets_the_records_and_is_not_remembered(
    cli: Cli, store: Settings, clean: Path
) -> None:
    """What becomes of it nobody knows: the next export has them again."""
    done = cli("audit", "export", "-")
    assert (done.code, len(done.out.splitlines())) == (0, RECORDS)
    assert f"{RECORDS} records" in done.err
    assert cli("audit", "export", "-").out == done.out
    assert cli("audit", "export", "-", "--json").code == 2
    assert len(cli("audit", "export", "-", "--after", "3").out.splitlines()) == 1
    assert cli("audit", "export", "-", "--after", "9").code == 2
    assert cli("audit", "export", "-", "--org", "nobody").code == 2


def test_a_file_that_is_there_is_never_overwritten(cli: Cli, store: Settings, clean: Path) -> None:
    """1, and the file stays; nor does a folder that is not there, or a broken trail, leave anything."""
    (clean / "trail.jsonl").write_text("theirs")
    done = cli("audit", "export", "trail.jsonl")
    assert (done.code, (clean / "trail.jsonl").read_text()) == (1, "theirs")
    assert cli("audit", "export", "nowhere/trail.jsonl").code == 1
    with sqlite3.connect(store.state_dir / state.DATABASE_FILE) as connection:
        connection.execute("update audit set actor = 'nobody' where seq = 3")
    before = sorted(os.listdir(clean))  # noqa: PTH208
    done = cli("audit", "export", "other.jsonl")
    assert (done.code, "record 3 does not fit" in done.err) == (1, True)
    assert sorted(os.listdir(clean)) == before  # noqa: PTH208


def test_old_records_are_pruned_behind_an_export(cli: Cli, store: Settings, clean: Path) -> None:
    """What is left verifies, and says that it does not begin at record 1; the files still hold the rest."""
    (told,) = documents(cli("audit", "export", "trail.jsonl", "--json"))
    (done,) = documents(cli("audit", "prune", "trail.jsonl", "--json"))
    assert (done["pruned"], done["base"]) == (RECORDS, told["head"])
    shown = cli("audit", "verify")
    assert (shown.code, shown.out.split()[6:8]) == (0, [str(RECORDS + 1), "2"])
    assert shown.err == f"org default: records up to {RECORDS} were pruned, as the trail vouches\n"
    (found,) = documents(cli("audit", "verify", "--json"))
    assert (found["base"], found["ok"]) == (told["head"], True)
    old = json.loads((clean / "trail.jsonl").read_text().splitlines()[1])
    refused = cli("audit", "verify", "--head", f"2:{old['mac']}")
    assert (refused.code, "were pruned" in refused.err, "broken" in refused.err) == (1, True, False)
    assert cli("audit", "verify", "--file", "trail.jsonl", "--head", f"2:{old['mac']}").code == 0
    assert cli("changes", "show", "default1", "--history").code == 0
    assert documents(cli("audit", "prune", "trail.jsonl", "--json"))[0]["pruned"] == 0


@pytest.mark.parametrize("how", ["cut", "altered", "not there", "another ring"])
def test_nothing_is_pruned_behind_a_file_that_proves_nothing(
    cli: Cli, store: Settings, clean: Path, how: str
) -> None:
    """1 or 2, and every record stays."""
    cli("audit", "export", "trail.jsonl")
    file = clean / "trail.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    if how == "cut":
        file.write_text("".join(lines[1:]))
    elif how == "altered":
        file.write_text("".join(lines).replace("user2@", "user7@"))
    elif how == "not there":
        file.unlink()
    else:
        file.write_text("".join(lines).replace(json.loads(lines[1])["mac"], "0" * 64))
    assert cli("audit", "prune", "trail.jsonl").code in (1, 2)
    assert documents(cli("audit", "verify", "--json"))[0]["records"] == RECORDS + 1
    assert cli("audit", "prune", "trail.jsonl", "--keep", "60").code == 2


def test_of_several_orgs_each_has_its_chain(
    cli: Cli, store: Settings, clean: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are in one file; --org picks one; a number or a head belongs to one of them."""
    with sqlite3.connect(store.state_dir / state.DATABASE_FILE) as connection:
        connection.execute(
            "insert into orgs (name, epoch, blocked_until, head_seq, head_mac) "
            "values ('second', 0, 0, 0, zeroblob(32))"
        )
    asyncio.run(_fill(store, 2, "second"))
    assert cli("audit", "export", "-", "--after", "1").code == 2
    assert len(cli("audit", "export", "-", "--org", "second", "--after", "1").out.splitlines()) == 1
    told = documents(cli("audit", "export", "trail.jsonl", "--json"))
    assert [(each["org"], each["records"]) for each in told] == [("default", RECORDS), ("second", 2)]
    head = ("--head", told[1]["head"])
    assert cli("audit", "verify", "--file", "trail.jsonl", *head).code == 2
    assert cli("audit", "verify", "--file", "trail.jsonl", "--org", "second", *head).code == 0
    done = documents(cli("audit", "prune", "trail.jsonl", "--org", "second", "--json"))
    assert [(each["org"], each["pruned"]) for each in done] == [("second", 2)]


def test_an_export_that_holds_nothing_is_not_taken_for_a_sound_one(
    cli: Cli, store: Settings, clean: Path
) -> None:
    """1 when a head says that there was more, 2 when the org that was asked for is not in it."""
    (told,) = documents(cli("audit", "export", "trail.jsonl", "--json"))
    sound = ("audit", "verify", "--file", "trail.jsonl", "--org", "default")
    assert cli(*sound, "--head", told["head"]).code == 0
    (clean / "trail.jsonl").write_text("")
    assert cli("audit", "verify", "--file", "trail.jsonl", "--head", told["head"]).code == 1
    assert cli(*sound, "--head", told["head"]).code == 1
    assert cli(*sound).code == 2


@pytest.mark.parametrize("command", [("audit", "verify"), ("changes", "list")])
def test_an_org_that_there_is_not_is_no_empty_answer(
    cli: Cli, store: Settings, clean: Path, command: tuple[str, ...]
) -> None:
    """2, and the orgs that there are."""
    cli("audit", "export", "trail.jsonl")
    files = ("--file", "trail.jsonl") if command[0] == "audit" else ()
    for more in ((), files):
        done = cli(*command, *more, "--org", "typo")
        assert (done.code, "typo" in done.err, "default" in done.err) == (2, True, True)


@pytest.mark.parametrize(("error", "code"), [(StoreAway(), 3), (TrailMoved("default"), 1)])
def test_pruning_that_is_cut_short_says_what_is_deleted_already(
    cli: Cli, store: Settings, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    """Run again, it goes on."""
    cli("audit", "export", "trail.jsonl")
    monkeypatch.setattr("passferry.trail.prune.BATCH", 3)
    original, calls = SqlAuditStore.prune, list[int]()

    async def second_fails(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise error
        return await original(*arguments)

    monkeypatch.setattr(SqlAuditStore, "prune", second_fails)
    done = cli("audit", "prune", "trail.jsonl")
    assert (done.code, "3 records were deleted" in done.err, "run it again" in done.err) == (code, True, True)
    assert "nothing was" not in done.err
    calls += [1, 1]
    assert documents(cli("audit", "prune", "trail.jsonl", "--json"))[0]["pruned"] == RECORDS - 3
