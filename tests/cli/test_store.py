"""Commands on a store: the queue, orgs, keys, the audit trail, and `verify`."""

import asyncio
import json
import os
import socket
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from passferry import state
from passferry.adapters import keyring
from passferry.adapters.hashing import FOR_TESTS_ONLY, Argon2Hasher
from passferry.adapters.store_lookup import SqlAccessStore
from passferry.config import Settings, load_settings
from passferry.domain.accepting import NewChange, judge
from passferry.domain.change import Reference
from passferry.domain.outcome import Kind, Limits, Outcome, decide
from passferry.domain.password import Password
from passferry.ports import Binding
from passferry.store_ports import StoreFull, StoreLost

Cli = Callable[..., Any]
PASSWORD = "Canary-Horse-77"
START = 1_800_000_000.0
ANNA = "11111111-2222-3333-4444-555555555555"
LILY = "abcdefab-cdef-abcd-efab-cdefabcdefab"


@pytest.fixture
def org(clean: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """One configured org, without a database yet."""
    monkeypatch.setenv("GENESYS_REGION", "us-east-1")
    monkeypatch.setenv("GENESYS_CLIENT_ID", "client")
    monkeypatch.setenv("GENESYS_CLIENT_SECRET", "secret")
    return load_settings(None)


@pytest.fixture
def store(org: Settings) -> Settings:
    """A state with two pending changes (`one` by email, `two` by id) and an applied one, `three`."""
    asyncio.run(_fill(org))
    return org


@pytest.fixture
def lily(org: Settings) -> Settings:
    """A state with one applied change, `four`, of a user who was only ever named by id."""
    asyncio.run(_fill(org, [("four", Reference("id", LILY))], LILY))
    return org


USERS = [
    ("one", Reference("userName", "one@example.com")),
    ("two", Reference("id", ANNA)),
    ("three", Reference("userName", "three@example.com")),
]


async def _fill(
    settings: Settings, users: Sequence[tuple[str, Reference]] = USERS, last_is: str = "id-3"
) -> None:
    """Accept a change for each of ``users``, and deliver that of the last one, whose id is ``last_is``."""
    stores = state.open_stores(settings, START, create=True)
    try:
        items = [
            NewChange(
                name,
                "default",
                user,
                "hr",
                stores.sealer.seal(PASSWORD.encode(), Binding("password", "default", user.value, name)),
                START + number,
                START + 72 * 3600,
            )
            for number, (name, user) in enumerate(users)
        ]
        await stores.accept.accept(items, judge)
        await _deliver(stores, users[-1][0], last_is)
    finally:
        stores.database.close()


async def _deliver(stores: state.Stores, change: str, resolved: str) -> None:
    hasher = Argon2Hasher(FOR_TESTS_ONLY)
    await stores.delivery.take("default")
    await stores.delivery.resolve(change, resolved, START + 5)
    begun = await stores.delivery.begin(change, "7", START + 5, 20.0)
    assert begun is not None
    assert not isinstance(begun, float)
    outcome = Outcome(Kind.APPLIED)
    verifier = stores.sealer.seal(
        await hasher.hash(Password(PASSWORD)), Binding("verifier", "default", resolved, change)
    )
    nxt = decide(begun, outcome, START + 6, Limits(), 0.0)
    await stores.delivery.settle(begun, outcome, nxt, START + 6, verifier)
    hasher.close()


def database(settings: Settings) -> sqlite3.Connection:
    """The database, as somebody who tampers with it would open it."""
    return sqlite3.connect(settings.state_dir / state.DATABASE_FILE)


# --- changes ---------------------------------------------------------------------------------


def test_the_queue_is_a_table_newest_first(cli: Cli, store: Settings) -> None:
    """Without a terminal the table is plain aligned columns."""
    done = cli("changes", "list")
    assert done.code == 0
    headings, *rows = done.out.splitlines()
    assert headings.split() == ["CHANGE", "ORG", "USER", "STATE", "ACCEPTED", "TRIES", "REASON"]
    assert rows == [
        "three   default  three@example.com                     applied  2027-01-15T08:00:02.000Z  1",
        f"two     default  {ANNA}  pending  2027-01-15T08:00:01.000Z  0",
        "one     default  one@example.com                       pending  2027-01-15T08:00:00.000Z  0",
    ]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--user", "ONE@example.com"], ["one"]),
        (["--user", ANNA], ["two"]),
        (["--state", "applied"], ["three"]),
        (["--state", "pending,applied", "--limit", "2"], ["three", "two"]),
        (["--since", "2027-01-15T08:00:01Z"], ["three", "two"]),
        (["--org", "default", "--limit", "1"], ["three"]),
    ],
)
def test_a_help_desk_can_ask(cli: Cli, store: Settings, arguments: list[str], found: list[str]) -> None:
    """Filters by user, state, time and org."""
    done = cli("changes", "list", "--json", *arguments)
    assert [change["changeId"] for change in json.loads(done.out)["changes"]] == found


@pytest.mark.parametrize("form", [[], ["--json"]])
def test_a_list_that_is_cut_off_says_so(cli: Cli, store: Settings, form: list[str]) -> None:
    """On standard error, so that JSON stays JSON; nothing where all are shown."""
    done = cli("changes", "list", "--limit", "2", *form)
    assert done.err == "these are the newest 2, and there are more: --limit N shows up to N\n"
    assert ("three" in done.out, "two" in done.out, "one@" in done.out) == (True, True, False)
    if form:
        assert len(json.loads(done.out)["changes"]) == 2
    assert cli("changes", "list", "--limit", "3", *form).err == ""


def test_a_change_is_shown_as_the_http_interface_shows_it(cli: Cli, store: Settings) -> None:
    """``changes show --json`` has the members of ``GET /changes/{id}``."""
    assert json.loads(cli("changes", "show", "three", "--json").out) == {
        "changeId": "three",
        "org": "default",
        "user": "three@example.com",
        "status": "applied",
        "evidence": "confirmed",
        "attempts": 1,
        "acceptedAt": "2027-01-15T08:00:02.000Z",
        "updatedAt": "2027-01-15T08:00:06.000Z",
        "nextAttemptAt": None,
        "error": None,
    }


def test_its_history_is_its_part_of_the_audit_trail(cli: Cli, store: Settings) -> None:
    """--history lists accept, attempt and outcome."""
    history = json.loads(cli("changes", "show", "three", "--json", "--history").out)["history"]
    assert [record["kind"] for record in history] == ["accepted", "attempt", "outcome"]
    assert "accepted" in cli("changes", "show", "three", "--history").out


def test_retry_and_cancel_work_on_what_waits(cli: Cli, store: Settings) -> None:
    """A pending change can be retried, then cancelled; then neither."""
    assert cli("changes", "retry", "one").out == "change one of one@example.com is pending\n"
    assert json.loads(cli("changes", "cancel", "one", "--json").out)["status"] == "cancelled"
    done = cli("changes", "retry", "one")
    assert done.code == 1
    assert done.err == (
        "passferry: change one is cancelled\nhint: only pending and parked changes: retry does nothing here\n"
    )


@pytest.mark.parametrize("command", ["show", "retry", "cancel"])
def test_an_unknown_change_is_1(cli: Cli, store: Settings, command: str) -> None:
    """No such change: exit code 1, and where to look."""
    done = cli("changes", command, "nothing")
    assert done.code == 1
    assert done.err == (
        "passferry: there is no change nothing\nhint: `passferry changes list` shows what there is\n"
    )


def test_a_wrong_state_or_time_is_2(cli: Cli, store: Settings) -> None:
    """Usage errors name what is allowed."""
    assert "the states are: pending, delivering, parked" in cli("changes", "list", "--state", "lost").err
    assert cli("changes", "list", "--since", "yesterday").code == 2
    assert cli("changes", "list", "--since", "3d").code == 0


# --- orgs and keys ---------------------------------------------------------------------------


def test_orgs_are_listed_paused_and_resumed(cli: Cli, store: Settings) -> None:
    """Pausing shows in the list, and in the audit trail under the operator's name."""
    assert cli("orgs", "pause", "default").out == "org default is paused\n"
    (listed,) = json.loads(cli("orgs", "list", "--json").out)["orgs"]
    assert (listed["org"], listed["paused"], listed["live"]) == ("default", "operator", 2)
    assert "paused (operator)" in cli("orgs", "list").out
    assert json.loads(cli("orgs", "resume", "default", "--json").out) == {"org": "default", "paused": None}
    assert "running" in cli("orgs", "list").out
    with database(store) as connection:
        acts = connection.execute(
            "select kind, actor from audit where kind in ('paused', 'resumed')"
        ).fetchall()
    assert [kind for kind, _ in acts] == ["paused", "resumed"]
    assert all(actor.startswith("operator:") for _, actor in acts)


def test_the_list_of_orgs_counts_changes_without_reading_them(
    cli: Cli, store: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are live, the figure is exact and no sealed password is read."""

    def read(*arguments: object) -> None:
        raise AssertionError("a change was read")

    monkeypatch.setattr("passferry.adapters.store_lookup.change_of", read)
    (listed,) = json.loads(cli("orgs", "list", "--json").out)["orgs"]
    assert listed["live"] == 2


def test_an_unknown_org_is_2(cli: Cli, store: Settings) -> None:
    """The hint names the orgs there are."""
    done = cli("orgs", "pause", "sales")
    assert done.code == 2
    assert done.err == "passferry: there is no org 'sales'\nhint: --org ORG; the orgs are: default\n"


@pytest.fixture
def apac(org: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A state whose only org is `apac`, and then no org that is configured."""
    settings = replace(org, orgs={"apac": org.orgs["default"]})
    state.open_stores(settings, START, create=True).database.close()
    for name in ("GENESYS_REGION", "GENESYS_CLIENT_ID", "GENESYS_CLIENT_SECRET"):
        monkeypatch.delenv(name)
    return settings


@pytest.mark.parametrize(
    "command",
    [
        "changes list",
        "changes retry one",
        "orgs list",
        "orgs pause default",
        "orgs forget-user jane@example.com",
        "access list",
        "access add hr",
        "access revoke hr",
        "audit verify",
        "keys rotate",
        "verify jane@example.com",
    ],
)
def test_a_command_without_the_configuration_adds_no_org(cli: Cli, apac: Settings, command: str) -> None:
    """An org stays for good, and whoever verifies the trail would be told of one that never was."""
    cli(*command.split(), stdin=PASSWORD.encode())
    with database(apac) as connection:
        assert connection.execute("select name from orgs").fetchall() == [("apac",)]


@pytest.mark.parametrize("command", ["pause default", "resume default", "forget-user jane@example.com"])
def test_an_org_that_the_state_does_not_have_is_2(cli: Cli, apac: Settings, command: str) -> None:
    """The hint names those that it has."""
    done = cli("orgs", *command.split())
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(
        "passferry: there is no org 'default'\nhint: the orgs of this state are: apac;"
    )


def test_an_org_that_was_configured_since_the_start_is_listed_as_such(cli: Cli, store: Settings) -> None:
    """`serve` adds it when it is started anew."""
    Path("passferry.toml").write_text(
        "[orgs.other]\nregion = 'us-east-1'\nclient_id = 'x'\nclient_secret = 'y'\n"
    )
    assert "not served yet" in cli("orgs", "list").out
    assert cli("orgs", "pause", "other").code == 2
    assert cli("access", "add", "hr").code == 0
    assert "not served yet" not in cli("orgs", "list").out


def test_a_key_in_a_state_that_was_not_there_says_so(cli: Cli) -> None:
    """It is of no use to the gateway of another account or place; the second one is of the same state."""
    assert "A new state was made in " in cli("access", "add", "okta").err
    assert "A new state" not in cli("access", "add", "hr").err


def test_a_key_is_shown_once_and_kept_as_a_hash(cli: Cli, store: Settings) -> None:
    """--json is exactly name, role and key; afterwards no list and no file holds the key."""
    made = json.loads(cli("access", "add", "hr", "--json").out)
    assert {**made, "apiKey": None} == {"name": "hr", "role": "source", "apiKey": None}
    assert made["apiKey"].startswith("pf_")
    secret = made["apiKey"].rpartition("_")[2]
    assert secret not in cli("access", "list").out + cli("access", "list", "--json").out
    assert not any(secret.encode() in path.read_bytes() for path in store.state_dir.iterdir())


def test_keys_have_role_orgs_and_template(cli: Cli, store: Settings) -> None:
    """What is given to ``add`` is what ``list`` shows."""
    template = "{uid}@example.com"
    cli("access", "add", "pam", "--org", "default", "--user-template", template)
    cli("access", "add", "desk", "--role", "operator")
    keys = json.loads(cli("access", "list", "--json").out)["keys"]
    shown = [(key["name"], key["role"], key["orgs"], key["userTemplate"]) for key in keys]
    assert shown == [("pam", "source", ["default"], template), ("desk", "operator", [], None)]


def test_a_name_is_used_once_until_it_is_revoked(cli: Cli, store: Settings) -> None:
    """A second key of a name is refused; after revoking, the name is free again."""
    assert cli("access", "add", "hr").code == 0
    done = cli("access", "add", "hr")
    assert (done.code, done.err.splitlines()[0]) == (1, "passferry: there is a key named 'hr' already")
    assert cli("access", "revoke", "hr").out == "the keys of hr are revoked\n"
    assert "revoked" in cli("access", "list").out
    assert cli("access", "add", "hr").code == 0
    assert cli("access", "revoke", "nobody").code == 1


def test_a_stopped_source_is_listed_and_resumed(cli: Cli, store: Settings) -> None:
    """`list` says since when, in the rules of the configuration; `resume` ends it, once."""
    Path("passferry.toml").write_text("[sources.pam]\nmost_an_hour = 5\nuser = '{uid}@corp.example'\n")
    cli("access", "add", "pam")
    assert cli("access", "resume", "pam").code == 1
    with sqlite3.connect(store.state_dir / state.DATABASE_FILE) as database:
        database.execute("INSERT INTO sources (name, stopped_at, recent) VALUES ('pam', ?, '{}')", (START,))
    listed = cli("access", "list").out
    assert "stopped since 2027-01-15T08:00:00.000Z" in listed
    assert "{uid}@corp.example" in listed
    (key,) = json.loads(cli("access", "list", "--json").out)["keys"]
    assert key["stoppedAt"] == "2027-01-15T08:00:00.000Z"
    done = cli("access", "resume", "pam")
    assert (done.code, done.out) == (0, "source pam may send again; its hour begins anew\n")
    assert json.loads(cli("access", "list", "--json").out)["keys"][0]["stoppedAt"] is None
    assert cli("audit", "verify").code == 0


def test_orgs_that_a_key_has_not_in_common_with_its_source_are_none(cli: Cli, store: Settings) -> None:
    """Not "all", as an empty list would read."""
    Path("passferry.toml").write_text(
        "[orgs.other]\nregion = 'us-east-1'\nclient_id = 'x'\nclient_secret = 'y'\n"
        "[sources.pam]\norgs = ['other']\n"
    )
    cli("access", "add", "pam", "--org", "default")
    assert cli("access", "list").out.splitlines()[1].split()[2] == "none"


def test_a_new_key_that_may_provision_says_so_and_who_else_may(
    cli: Cli, store: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where its org is a proxy, with how to bound it; not of a key that may not, nor in the JSON document."""
    assert "may create" not in cli("access", "add", "okta").err
    monkeypatch.setenv("PASSFERRY_ORGS_DEFAULT_SCIM", "proxy")
    Path("passferry.toml").write_text("[sources.hr]\nscim = 'passwords'\n")
    done = cli("access", "add", "portal", "--json")
    assert done.err.splitlines() == [
        'org default has scim = "proxy": this key may create, change and delete its users; so may: okta',
        'hint: if it shall not: scim = "passwords" or "none" in [sources.portal], and start serve anew',
    ]
    assert json.loads(done.out).keys() == {"name", "role", "apiKey"}
    assert 'in [sources."HR.Portal"], and' in cli("access", "add", "HR.Portal").err
    assert "may create" not in cli("access", "add", "hr").err
    assert "may create" not in cli("access", "add", "desk", "--role", "operator").err


@pytest.mark.parametrize(
    "arguments",
    [["a b"], ["hr", "--role", "king"], ["hr", "--org", "other"], ["hr", "--user-template", "{uid}"]],
)
def test_a_wrong_key_is_2(cli: Cli, store: Settings, arguments: list[str]) -> None:
    """Bad names, roles, orgs and templates are usage errors, and make no key."""
    assert cli("access", "add", *arguments).code == 2
    assert json.loads(cli("access", "list", "--json").out) == {"keys": []}


# --- sealing keys ----------------------------------------------------------------------------


def test_keys_are_rotated_and_everything_still_opens(cli: Cli, store: Settings) -> None:
    """Two live passwords and a verifier are sealed anew; `verify` works; once more, another key."""
    done = json.loads(cli("keys", "rotate", "--json").out)
    assert (done["resumed"], done["resealed"], len(done["destroyed"])) == (False, 3, 1)
    assert cli("verify", "three@example.com", stdin=PASSWORD.encode()).code == 0
    assert "3 values sealed anew" in cli("keys", "rotate").out
    assert done["key"] not in keyring.load(store.key_file).keys
    assert cli("audit", "verify").code == 0


def test_a_key_is_prepared_once_and_is_the_next(cli: Cli, store: Settings) -> None:
    """Asked twice, the same key is named; the rotation that follows makes it the only one."""
    prepared = json.loads(cli("keys", "rotate", "--prepare", "--json").out)["prepared"]
    assert prepared in cli("keys", "rotate", "--prepare").out
    done = json.loads(cli("keys", "rotate", "--json").out)
    assert (done["key"], done["resumed"]) == (prepared, False)
    assert list(keyring.load(store.key_file).keys) == [prepared]


def test_a_ring_whose_folder_cannot_be_written_is_2_and_stays(
    cli: Cli, store: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says that nothing was lost, and what to do."""
    before = store.key_file.read_bytes()

    def refuse(self: Path, target: Path) -> Path:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(Path, "replace", refuse)
    done = cli("keys", "rotate")
    assert done.code == 2
    assert "Read-only file system; the rotation is not finished, and the old key is kept" in done.err
    assert store.key_file.read_bytes() == before


def test_an_old_ring_after_a_rotation_is_refused(cli: Cli, store: Settings) -> None:
    """A ring restored from before the rotation lacks the key: exit code 2 names it."""
    before = store.key_file.read_bytes()
    key = json.loads(cli("keys", "rotate", "--json").out)["key"]
    store.key_file.write_bytes(before)
    done = cli("changes", "list")
    assert done.code == 2
    assert f"the key ring lacks the key {key}" in done.err


def test_a_user_is_forgotten_once_no_change_is_live(cli: Cli, store: Settings) -> None:
    """A live change refuses it; else the user's changes and verifier are gone; then nothing is known."""
    refused = cli("orgs", "forget-user", "one@example.com")
    assert refused.code == 1
    assert "a change of this user is pending: nothing was deleted" in refused.err
    assert cli("orgs", "forget-user", "three@example.com").out == (
        "three@example.com: 1 changes and a verifier deleted\n"
    )
    assert cli("changes", "show", "three").code == 1
    assert cli("verify", "three@example.com", stdin=PASSWORD.encode()).code == 4
    assert cli("orgs", "forget-user", "three@example.com").code == 1
    assert cli("audit", "verify").code == 0


# --- verify ----------------------------------------------------------------------------------


def test_verify_knows_the_password_last_delivered(cli: Cli, store: Settings) -> None:
    """0 for the one, 1 for another, 4 where nothing was delivered; by email and by id."""
    assert cli("verify", "three@example.com", stdin=PASSWORD.encode()).code == 0
    assert cli("verify", "id-3", stdin=PASSWORD.encode()).code == 0
    assert cli("verify", "three@example.com", stdin=b"Another-Horse-77").code == 1
    done = cli("verify", "one@example.com", "--json", stdin=PASSWORD.encode())
    assert (done.code, json.loads(done.out)["matches"]) == (4, None)


def test_an_id_of_genesys_cloud_is_the_same_in_any_letter_case(cli: Cli, lily: Settings) -> None:
    """As over HTTP, which takes a UUID in upper case and keeps it in lower case."""
    name = LILY.upper()
    listed = json.loads(cli("changes", "list", "--user", name, "--json").out)["changes"]
    assert [change["changeId"] for change in listed] == ["four"]
    assert cli("verify", name, stdin=PASSWORD.encode()).code == 0
    assert cli("orgs", "forget-user", name).out == f"{name}: 1 changes and a verifier deleted\n"


def test_an_id_of_another_target_keeps_its_letter_case(
    cli: Cli, lily: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There it may be another user's (RFC 7643 section 3.1)."""
    for name in ("REGION", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.delenv(f"GENESYS_{name}")
    Path("passferry.toml").write_text(
        "[orgs.default]\ntarget = 'scim'\nbase_url = 'https://scim.example.com/v2'\ntoken = 'made-up-token'\n"
    )
    assert cli("verify", LILY.upper(), stdin=PASSWORD.encode()).code == 4
    assert cli("orgs", "forget-user", LILY.upper()).code == 1
    assert cli("verify", LILY, stdin=PASSWORD.encode()).code == 0


def test_of_a_name_that_was_never_sent_nothing_is_claimed(cli: Cli, lily: Settings) -> None:
    """Nobody knows whose id it stands for: what is kept by id is not said to be missing."""
    by_id = "what came by id alone (SCIM) is found by the id\n"
    listed = cli("changes", "list", "--user", "lily@example.com")
    assert (listed.code, listed.err.startswith("no such changes\nhint: a name"), listed.out) == (0, True, "")
    verified = cli("verify", "lily@example.com", stdin=PASSWORD.encode())
    assert (verified.code, "delivered under the name lily@example.com\n" in verified.err) == (4, True)
    forgotten = cli("orgs", "forget-user", "lily@example.com")
    assert (forgotten.code, "nothing is kept under this name\n" in forgotten.err) == (1, True)
    assert [each.err.endswith(by_id) for each in (listed, verified, forgotten)] == [True] * 3
    assert by_id not in cli("changes", "list", "--user", ANNA).err


def test_a_name_that_was_resolved_finds_what_came_by_id(cli: Cli, org: Settings) -> None:
    """The newer change that came by id is listed under the name, verified under it, and forgotten with it."""
    by_name = ("old", Reference("userName", "lily@example.com"))
    asyncio.run(_fill(org, [by_name], LILY))
    asyncio.run(_fill(org, [("new", Reference("id", LILY))], LILY))
    listed = json.loads(cli("changes", "list", "--user", "lily@example.com", "--json").out)["changes"]
    assert {change["changeId"] for change in listed} == {"new", "old"}
    assert cli("verify", "lily@example.com", stdin=PASSWORD.encode()).code == 0
    assert cli("orgs", "forget-user", "lily@example.com").out == (
        "lily@example.com: 2 changes and a verifier deleted\n"
    )
    assert cli("changes", "list", "--user", LILY).out == ""
    assert cli("verify", LILY, stdin=PASSWORD.encode()).code == 4
    with database(org) as connection:
        assert connection.execute("select count(*) from users").fetchone() == (0,)
        assert connection.execute("select count(*) from accounts").fetchone() == (0,)


# --- audit -----------------------------------------------------------------------------------


def chain(cli: Cli) -> dict[str, Any]:
    """What ``audit verify`` says of the only org."""
    (found,) = json.loads(cli("audit", "verify", "--json").out)["orgs"]
    assert isinstance(found, dict)
    return found


def test_an_untouched_trail_is_well(cli: Cli, store: Settings) -> None:
    """Every link fits; the head that is shown is accepted as a head kept elsewhere, also later on."""
    found = chain(cli)
    assert (found["ok"], found["records"]) == (True, 5)
    cli("changes", "cancel", "one")
    done = cli("audit", "verify", "--head", found["head"])
    assert (done.code, done.out.split()[-1]) == (0, "ok")


@pytest.mark.parametrize(
    ("tampering", "broken"),
    [
        (
            "update audit set user = 'other@example.com' where seq = 2",
            "record 2 does not fit the ones before",
        ),
        ("update audit set actor = 'nobody' where seq = 5", "record 5 does not fit the ones before"),
        (
            "update audit set actor = x'61' where seq = 4",
            "record 4 does not fit the ones before",
        ),
        ("update audit set mac = 'text' where seq = 4", "record 4 does not fit the ones before"),
        ("update audit set at = 'text' where seq = 4", "record 4 does not fit the ones before"),
        (
            "update audit set user = cast(x'ff' as text)",
            "there is something that is no record",
        ),
        ("update orgs set head_seq = 'text'", "there is something that is no record"),
        ("update orgs set head_mac = 'text'", "record 5 is not the one that the head names"),
        ("delete from audit where seq = 3", "record 3 is missing"),
        ("delete from audit where seq = 5", "it ends at record 4; records up to 5 are missing"),
        ("delete from audit", "it ends at record 0; records up to 5 are missing"),
        ("update orgs set head_seq = 4", "record 4 is not the one that the head names"),
    ],
)
def test_tampering_is_found(cli: Cli, store: Settings, tampering: str, broken: str) -> None:
    """Altered, removed and cut-off records are found: exit code 1, and where."""
    with database(store) as connection:
        connection.execute(tampering)
    done = cli("audit", "verify")
    assert done.code == 1
    assert done.err == f"passferry: the audit trail is broken:\n- org default: {broken}\n"


def test_a_trail_cut_off_together_with_its_head_is_found_with_a_head_kept_elsewhere(
    cli: Cli, store: Settings
) -> None:
    """Who cuts rows and rewrites the stored head deceives the chain alone, but not --head."""
    head = chain(cli)["head"]
    with database(store) as connection:
        connection.execute("delete from audit where seq = 5")
        connection.execute("update orgs set head_seq = 4, head_mac = (select mac from audit where seq = 4)")
    assert cli("audit", "verify").code == 0
    done = cli("audit", "verify", "--head", head)
    assert (done.code, "records up to 5 are missing" in done.err) == (1, True)


def test_a_head_that_never_was_is_found(cli: Cli, store: Settings) -> None:
    """A head of the right form whose MAC is another's: exit code 1. One that has no such form: 2."""
    assert cli("audit", "verify", "--head", "3:" + "0" * 64).code == 1
    assert cli("audit", "verify", "--head", "5:" + "0" * 64).code == 1
    assert cli("audit", "verify", "--head", "5:xyz").code == 2
    assert cli("audit", "verify", "--head", "0:" + "1" * 64).code == 2


def test_the_head_of_an_empty_trail_is_taken(cli: Cli, store: Settings) -> None:
    """`serve` logs it in its first minute, with a MAC of zeros: nothing contradicts it."""
    assert cli("audit", "verify", "--head", "0:" + "0" * 64).code == 0


# --- state that cannot be used ---------------------------------------------------------------


def test_without_a_database_reading_is_2(cli: Cli, org: Settings) -> None:
    """Nothing is made by a command that reads; the hint says how a database comes to be."""
    done = cli("changes", "list")
    assert done.code == 2
    assert "hint: start `passferry serve` once, or set PASSFERRY_STATE_DIR" in done.err
    assert not org.state_dir.exists()


@pytest.mark.parametrize(
    "command",
    [
        "orgs list",
        "orgs pause default",
        "orgs resume default",
        "orgs forget-user jane@example.com",
        "access list",
        "access revoke hr",
        "access resume hr",
        "changes list",
        "changes show one",
        "changes retry one",
        "changes cancel one",
        "audit verify",
        "audit export trail.jsonl",
        "audit prune trail.jsonl",
        "keys rotate",
        "keys rotate --prepare",
        "keys public",
        "verify jane@example.com",
    ],
)
def test_only_what_sets_a_gateway_up_makes_a_state(
    cli: Cli, org: Settings, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """Anything else run by another user, or with other settings, would report success and act on nothing."""
    home = Path("home")
    home.mkdir()
    monkeypatch.setenv("HOME", str(home.absolute()))
    for name in ("PASSFERRY_STATE_DIR", "PASSFERRY_KEY_FILE", "XDG_STATE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    if command.startswith("audit prune"):
        Path("trail.jsonl").touch()
    done = cli(*command.split(), stdin=PASSWORD.encode())
    assert (done.code, done.out) == (2, "")
    if command != "keys public":  # which needs the ring alone
        assert f"there is no state directory at {home.absolute()}/.local/state/passferry\n" in done.err
        assert "hint: start `passferry serve` once, or set PASSFERRY_STATE_DIR (or --config FILE)" in done.err
    assert list(home.iterdir()) == []


def test_an_empty_database_is_none(cli: Cli, org: Settings) -> None:
    """It is not filled, nor given a key ring, by a command that operates."""
    org.state_dir.mkdir(mode=0o700)
    path = org.state_dir / state.DATABASE_FILE
    path.touch(mode=0o600)
    assert f"there is no database at {path}" in cli("orgs", "pause", "default").err
    assert (path.stat().st_size, org.key_file.exists()) == (0, False)


def test_another_users_state_is_refused(cli: Cli, store: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands run by somebody else than the owner of the state directory say whom to be."""
    me = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: me + 1)
    done = cli("access", "list")
    assert done.code == 2
    assert f"belongs to user id {me}" in done.err
    assert "hint: run the command as that user" in done.err


def test_state_that_may_not_be_entered_is_2(
    cli: Cli, store: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory above it that is closed to this user is said, without a traceback."""

    def closed(*arguments: object, **named: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", closed)
    done = cli("access", "list")
    assert done.code == 2
    assert f"cannot use {store.state_dir}: Permission denied" in done.err
    assert "hint: run as the user who runs `serve`" in done.err


def test_a_full_disk_is_3(cli: Cli, store: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was changed, and it is worth trying again."""

    async def full(*arguments: object) -> None:
        raise StoreFull("the disk is full")

    monkeypatch.setattr(SqlAccessStore, "add_key", full)
    done = cli("access", "add", "hr")
    assert done.code == 3
    assert done.err == "passferry: the disk is full: nothing was changed\nhint: make room, then try again\n"


def test_a_lost_commit_is_3(cli: Cli, store: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows whether anything was changed, and that is said."""

    async def lost(*arguments: object) -> None:
        raise StoreLost("a commit failed")

    monkeypatch.setattr(SqlAccessStore, "add_key", lost)
    done = cli("access", "add", "hr")
    assert done.code == 3
    assert "whether anything was changed is not known\nhint: look" in done.err


def test_all_mistakes_in_the_configuration_come_at_once(cli: Cli, clean: Path) -> None:
    """Exit code 2, one line and a hint for each."""
    (clean / "passferry.toml").write_text('colour = "red"\nlisten = "nowhere"\n')
    done = cli("changes", "list")
    assert done.code == 2
    assert done.err.startswith("passferry: the configuration has mistakes:\n")
    assert done.err.count("  hint: ") >= 2


@pytest.mark.parametrize("listen", ["0.0.0.0:8080", "192.0.2.1:80", "[::]:80", "example.com:80"])
def test_serving_beyond_this_machine_is_refused(cli: Cli, org: Settings, listen: str) -> None:
    """Plain HTTP on an address that others reach: exit code 2 and a hint, before anything is made."""
    done = cli("serve", "--listen", listen)
    assert done.code == 2
    assert "plain HTTP is served on this machine only" in done.err
    assert not org.state_dir.exists()


@pytest.mark.parametrize("listen", ["8080", "localhost", "localhost:x", "127.0.0.1:70000", ":80"])
def test_a_wrong_address_is_2(cli: Cli, org: Settings, listen: str) -> None:
    """--listen wants HOST:PORT."""
    done = cli("serve", "--listen", listen)
    assert (done.code, done.err.splitlines()[1]) == (2, "- --listen is no HOST:PORT")


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_stand_in_whose_port_is_taken_names_it(cli: Cli, family: socket.AddressFamily, host: str) -> None:
    """And not the default, where --host and --port say another."""
    try:
        taken = socket.create_server((host, 0), family=family)
    except OSError:  # a machine without the address cannot listen there either
        taken = socket.create_server(("127.0.0.1", 0))
    with taken:
        port = taken.getsockname()[1]
        done = cli("simulate", "--host", host, "--port", str(port), "--users", "1")
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    assert (done.code, done.err.startswith(f"passferry: cannot listen on {where}: ")) == (2, True)


def test_serving_without_an_org_is_2(cli: Cli, clean: Path) -> None:
    """The hint names the three variables."""
    done = cli("serve")
    assert done.code == 2
    assert "GENESYS_CLIENT_ID" in done.err


def test_a_database_of_another_program_is_refused_with_a_remedy(cli: Cli, org: Settings) -> None:
    """A path or URL that leads to somebody else's tables: told, and nothing is made there."""
    asyncio.run(_fill(org))
    path = org.state_dir / "passferry.db"
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE users (name TEXT)")
    done = cli("changes", "list")
    assert done.code == 2
    assert "users" in done.err
    assert "a database of its own" in done.err
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("users",)]
    connection.close()
