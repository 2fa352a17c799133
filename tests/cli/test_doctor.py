"""`doctor` against the simulator and its switches, against targets that are none, on states of all kinds."""

import asyncio
import json
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from time import time
from typing import Any

import pytest

from certificates import DAY, Authority
from passferry import state
from passferry.adapters.key_file import KeyFile
from passferry.config import load_settings
from passferry.domain.accepting import NewChange, judge
from passferry.domain.change import Reference
from passferry.ports import Binding
from passferry.simulator import Fault, Settings, Simulator
from process.harness import genesys
from process.raw_target import RawTarget, always, reply
from simulator.running import running

Cli = Callable[..., Any]
SECRET = "simulator-secret"
ME = "/api/v2/tokens/me"
USERS = "/api/v2/scim/v2/users"
EMPTY_LIST = b'{"totalResults": 0, "Resources": []}'


@pytest.fixture
def doctor(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, dict[str, Any]]]:
    """Run ``doctor`` against ``url``; gives its exit code, and its findings by the name of the check."""

    def run(url: str, **more: str) -> tuple[int, dict[str, Any]]:
        settings = {**genesys(url, secret=SECRET), "PASSFERRY_ORGS_DEFAULT_REQUEST_TIMEOUT": "3s", **more}
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        done = cli("doctor", "--json")
        assert SECRET not in done.out + done.err
        found = json.loads(done.out)
        assert found["ok"] is (done.code == 0)
        for finding in found["findings"]:
            assert finding["level"] == "ok" or finding["remedy"], finding
        return done.code, worst(found["findings"])

    return run


def worst(findings: list[dict[str, Any]]) -> dict[str, Any]:
    """The findings by check, the worst of each."""
    order = {"ok": 0, "warn": 1, "fail": 2}
    named: dict[str, Any] = {}
    for finding in findings:
        before = named.setdefault(finding["check"], finding)
        if order[finding["level"]] > order[before["level"]]:
            named[finding["check"]] = finding
    return named


def levels(found: Mapping[str, Any]) -> dict[str, str]:
    """What is not well, by check."""
    return {name: one["level"] for name, one in found.items() if one["level"] != "ok"}


@contextmanager
def simulated(**switches: Any) -> Iterator[tuple[Simulator, str]]:
    """A calm simulator with some switches moved, and where it is."""
    simulator = Simulator(Settings.calm(**switches), users=30)
    with running(simulator) as url:
        yield simulator, url


def listing(folder: Path) -> list[tuple[str, bytes]]:
    """Every file below a folder, with what it holds but for SQLite's index in shared memory."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(str(path), b"" if path.name.endswith("-shm") else path.read_bytes()) for path in files]


# --- a target that is one --------------------------------------------------------------------


def test_all_is_well_on_a_fresh_machine_and_nothing_is_made(doctor: Any, clean: Path) -> None:
    """Before the first start every check is ok, exit code 0; nothing is written, and only GET is sent."""
    with simulated() as (simulator, url):
        code, found = doctor(url)
        methods = {(entry.method, entry.path) for entry in simulator.journal()}
    assert (code, levels(found)) == (0, {})
    assert list(found) == [
        "configuration", "state", "key file", "database", "region", "host", "token", "clock", "identity",
        "users", "permissions", "versions", "limits", "policy", "headers",
    ]  # fmt: skip
    assert "none yet" in found["state"]["message"]
    assert found["users"]["message"].startswith("the target shows ")
    assert listing(clean) == []
    assert {method for method, path in methods if "oauth" not in path} == {"GET"}


@pytest.mark.parametrize(
    ("switches", "more", "expected", "remedy"),
    [
        ({"rate": 100}, {}, {"limits": "warn", "headers": "warn"}, "to 100"),
        ({"limits_stated": False}, {}, {"limits": "warn"}, "learnt"),
        ({"scim_rate": 120}, {}, {"limits": "warn"}, "to 120"),
        ({"rate_headers": "never"}, {}, {"headers": "warn"}, "learnt"),
        ({"minimum_length": 12}, {}, {"policy": "warn"}, "policy.minimum_length = 12"),
        ({"minimum_age_seconds": 60}, {}, {"policy": "warn"}, "policy.minimum_age_seconds = 60"),
        (
            {"missing_permissions": ["directory:organization:admin"]},
            {},
            {"policy": "warn"},
            "compare the rules by hand",
        ),
        ({}, {"GENESYS_WRITE": "native"}, {"versions": "warn"}, "scim-put"),
        ({"page_maximum": 0}, {}, {}, ""),
    ],
)
def test_what_could_be_better_is_a_warning(
    doctor: Any, switches: dict[str, Any], more: dict[str, str], expected: dict[str, str], remedy: str
) -> None:
    """Each switch that delivery survives gives its warning with a remedy, and exit code 0."""
    with simulated(**switches) as (_, url):
        code, found = doctor(url, **more)
    assert (code, levels(found)) == (0, expected)
    assert remedy in " ".join(found[name]["remedy"] for name in expected)


def test_the_orgs_policy_is_no_warning_once_it_is_ours(doctor: Any) -> None:
    """Set as the remedy says, the warning is gone."""
    with simulated(minimum_length=12, minimum_age_seconds=60) as (_, url):
        _, found = doctor(
            url,
            PASSFERRY_ORGS_DEFAULT_POLICY_MINIMUM_LENGTH="12",
            PASSFERRY_ORGS_DEFAULT_POLICY_MINIMUM_AGE_SECONDS="60",
        )
    assert found["policy"]["level"] == "ok"


@pytest.mark.parametrize("status", [400, 401])
def test_wrong_credentials_fail_with_1(doctor: Any, status: int) -> None:
    """A refused client id is named, the remedy names the region too, and nothing is asked without a token."""
    with simulated(invalid_client_status=status) as (simulator, url):
        code, found = doctor(url, GENESYS_CLIENT_ID="somebody")
        asked = [entry.path for entry in simulator.journal()]
    assert (code, levels(found)) == (1, {"token": "fail"})
    assert found["token"]["code"] == "invalid_client"
    assert "region" in found["token"]["remedy"]
    assert asked == ["/oauth/token"]


@pytest.mark.parametrize(
    ("fault", "path", "code", "check", "said"),
    [
        (Fault.TOKEN_THROTTLED, "*", 3, "token", "try again in"),
        (Fault.THROTTLED_42, "*", 3, "identity", "try again in 42 s"),
        (Fault.UNAVAILABLE, USERS, 3, "users", "try again in 2 s"),
        (Fault.IP_NOT_AUTHORIZED, "*", 1, "identity", "IP allow list"),
        (Fault.RESET_BEFORE, ME, 3, "identity", "try again"),
    ],
)
def test_a_target_in_trouble_is_told_from_one_that_refuses(
    doctor: Any, fault: Fault, path: str, code: int, check: str, said: str
) -> None:
    """What passes by itself ends with 3, what somebody must mend with 1; each says what to do."""
    with simulated() as (simulator, url):
        simulator.next(fault, path=path)
        got, found = doctor(url)
    assert (got, found[check]["level"]) == (code, "fail")
    assert said in found[check]["remedy"]


def test_a_target_that_throttles_is_asked_nothing_more(doctor: Any) -> None:
    """After a 429 no further request is made."""
    with simulated() as (simulator, url):
        simulator.next(Fault.THROTTLED_181)
        doctor(url)
        assert len([entry for entry in simulator.journal() if "oauth" not in entry.path]) == 1


# --- answers that the simulator does not give ------------------------------------------------


def test_a_missing_permission_names_its_code_and_the_correlation_id(doctor: Any) -> None:
    """403 of the list of users fails as `permissions`, with what the target's support asks for."""
    body = b'{"status": 403, "code": "missing.any.permissions", "message": "no"}'
    with RawTarget() as target:
        target.reads[ME] = always(reply(200, b"{}"))
        target.reads[USERS] = always(reply(403, body, "ININ-Correlation-Id: 3f1c"))
        code, found = doctor(target.url)
    assert (code, found["permissions"]["level"]) == (1, "fail")
    assert (found["permissions"]["code"], found["permissions"]["correlationId"]) == (
        "missing.any.permissions",
        "3f1c",
    )
    assert "role" in found["permissions"]["remedy"]


@pytest.mark.parametrize(("ahead", "level", "code"), [(0, "ok", 0), (-120, "warn", 0), (3600, "fail", 2)])
def test_the_clock_is_compared_with_the_targets(doctor: Any, ahead: float, level: str, code: int) -> None:
    """Two minutes are a warning, more than five fail: then nothing would expire."""
    date = f"Date: {formatdate(time() - ahead, usegmt=True)}"
    with RawTarget() as target:
        target.reads[ME] = always(reply(200, b"{}", date))
        target.reads[USERS] = always(reply(200, EMPTY_LIST, date))
        got, found = doctor(target.url)
    assert (got, found["clock"]["level"]) == (code, level)


def test_an_empty_org_and_an_answer_without_a_date_are_warnings(doctor: Any) -> None:
    """No user at all, and no clock to compare with, are worth a look and no failure."""
    with RawTarget() as target:
        target.reads[ME] = always(reply(200, b"{}"))
        target.reads[USERS] = always(reply(200, EMPTY_LIST))
        code, found = doctor(target.url)
    assert code == 0
    assert (found["users"]["level"], found["clock"]["level"]) == ("warn", "warn")


@pytest.mark.parametrize(
    ("answer", "remedy"),
    [
        (reply(200, b"<html>hello</html>", kind="text/html"), "another service"),
        (reply(404, b"<html>no</html>", kind="text/html"), "hosts"),
        (reply(302, b"", "Location: http://127.0.0.1:1/"), "redirects are never followed"),
    ],
)
def test_a_web_page_at_the_address_is_no_target(doctor: Any, answer: bytes, remedy: str) -> None:
    """HTML, nothing and redirects instead of users fail with 1, and the remedy is the address."""
    with RawTarget() as target:
        target.reads[ME] = target.reads[USERS] = always(answer)
        code, found = doctor(target.url)
    assert (code, found["users"]["level"]) == (1, "fail")
    assert remedy in found["users"]["remedy"]


def test_names_of_the_target_cannot_move_the_terminal(cli: Cli, doctor: Any) -> None:
    """An org's name is shown without control characters, and cut short."""
    name = "A\x1b[2J\n" + "x" * 500
    with RawTarget() as target:
        target.reads[ME] = always(reply(200, json.dumps({"organization": {"name": name}}).encode()))
        _, found = doctor(target.url)
        text = cli("doctor").out
    assert found["identity"]["message"].endswith("A[2J" + "x" * 76)
    assert "\x1b" not in text


def test_a_plain_service_provider_is_asked_what_it_can_do(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without PATCH the write mode scim-patch fails with 2, as a setting; the token stays unsaid."""
    config = (
        b'{"patch": {"supported": false}, "changePassword": {"supported": true}, "etag": {"supported": true}}'
    )
    with RawTarget() as target:
        target.reads["/Users"] = always(reply(200, EMPTY_LIST))
        target.reads["/ServiceProviderConfig"] = always(reply(200, config))
        for key, value in {"TARGET": "scim", "BASE_URL": target.url, "TOKEN": "Canary-Token-1"}.items():
            monkeypatch.setenv(f"PASSFERRY_ORGS_DEFAULT_{key}", value)
        assert cli("doctor").code == 0
        monkeypatch.setenv("PASSFERRY_ORGS_DEFAULT_WRITE", "scim-patch")
        done = cli("doctor")
    assert done.code == 2
    assert "scim-put" in done.out
    assert "Canary" not in done.out + done.err


# --- no target at all ------------------------------------------------------------------------


@contextmanager
def bare_tcp(*, close: bool) -> Iterator[int]:
    """A port that takes connections, and says nothing or hangs up."""
    stop = threading.Event()
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)

        def take() -> None:
            while not stop.is_set():
                try:
                    connection = listener.accept()[0]
                except TimeoutError:
                    continue
                held.append(connection)
                if close:
                    connection.close()

        thread = threading.Thread(target=take)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            stop.set()
            thread.join(5)
            for connection in held:
                connection.close()


@pytest.mark.parametrize("close", [False, True])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_bare_tcp_port_is_no_target(doctor: Any, scheme: str, close: bool) -> None:
    """Silence and hanging up end in time: as the host with TLS, as the token without."""
    with bare_tcp(close=close) as port:
        code, found = doctor(f"{scheme}://127.0.0.1:{port}", PASSFERRY_ORGS_DEFAULT_REQUEST_TIMEOUT="0.3s")
    check = "host" if scheme == "https" else "token"
    assert (code, found[check]["level"]) == (3, "fail")


def test_a_name_that_nobody_knows_ends_with_3(doctor: Any) -> None:
    """The remedy of an unknown host is its name or the name server."""
    code, found = doctor("https://api.passferry.invalid")
    assert (code, found["host"]["level"]) == (3, "fail")
    assert found["host"]["remedy"]


# --- this machine ----------------------------------------------------------------------------


def test_all_mistakes_of_the_configuration_are_findings(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every mistake is a line with its remedy; the exit code is 2."""
    monkeypatch.setenv("GENESYS_REGION", "nowhere")
    monkeypatch.setenv("GENESYS_CLIENT_SECRET", "Canary-Secret-9")
    done = cli("doctor")
    assert done.code == 2
    assert done.out.count("fail  configuration") == 2
    assert done.out.count("remedy: ") == 2
    assert "Canary" not in done.out + done.err


@pytest.fixture
def made(clean: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory of a gateway that has run."""
    for name, value in genesys("http://127.0.0.1:1", secret=SECRET).items():
        monkeypatch.setenv(name, value)
    state.open_stores(load_settings(None), time(), create=True).database.close()
    return clean / "state"


def test_beside_a_gateway_and_without_one_the_state_stays_as_it_is(
    doctor: Any, made: Path, clean: Path
) -> None:
    """Closed, open with a write-ahead log, or copied while open: told, and not a byte of a file moves."""
    with simulated() as (_, url):
        before = listing(clean)
        assert doctor(url)[1]["database"]["level"] == "ok"
        assert listing(clean) == before

        stores = state.open_stores(load_settings(None), time(), create=False)
        try:
            asyncio.run(stores.delivery.set_org("default", "operator", 0.0, "test", time()))
            before = listing(clean)
            assert any(name.endswith("-wal") and content for name, content in before)
            found = doctor(url)[1]["database"]
            assert (found["level"], found["remedy"]) == ("warn", "`passferry orgs resume default`")
            assert listing(clean) == before
            copied = [(name, (made / name).read_bytes()) for name in ("passferry.db", "passferry.db-wal")]
            asyncio.run(stores.database.checkpoint())
            before = listing(clean)
            assert doctor(url)[1]["database"]["level"] == "warn"
            assert listing(clean) == before
        finally:
            stores.database.close()

        for name, content in copied:
            (made / name).write_bytes(content)
        before = listing(clean)
        found = doctor(url)[1]["database"]
        assert (found["level"], found["remedy"].startswith("start `serve`")) == ("warn", True)
        assert listing(clean) == before


def test_a_database_of_a_newer_version_or_another_ring_fails_with_2(doctor: Any, made: Path) -> None:
    """Each is told before `serve` refuses to start, with the same remedy."""
    with simulated() as (_, url):
        for name, value, said in (("ring", "00", "PASSFERRY_KEY_FILE"), ("version", "99", "newer passferry")):
            with sqlite3.connect(made / "passferry.db") as connection:
                connection.execute("UPDATE meta SET value = ? WHERE name = ?", (value, name))
            connection.close()
            code, found = doctor(url)
            assert (code, found["database"]["level"]) == (2, "fail")
            assert said in found["database"]["remedy"]


def test_a_database_of_an_older_version_is_a_warning_to_back_it_up(doctor: Any, made: Path) -> None:
    """Told before the start that upgrades it, and nothing is upgraded by the look."""
    with sqlite3.connect(made / "passferry.db") as connection:
        connection.execute("UPDATE meta SET value = '1' WHERE name = 'version'")
    connection.close()
    with simulated() as (_, url):
        for _ in range(2):
            found = doctor(url)[1]["database"]
            assert (found["level"], found["remedy"].startswith("back it up first")) == ("warn", True)


def test_who_may_provision_is_named_and_a_warning_until_it_was_decided(
    cli: Cli, doctor: Any, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In an org that is a proxy each key that may; the remedy names those that no `scim` is set for."""
    for name in ("okta", "portal", "hr"):
        assert cli("access", "add", name).code == 0
    monkeypatch.setenv("PASSFERRY_SOURCES_HR_SCIM", "none")
    monkeypatch.setenv("PASSFERRY_SOURCES_OKTA_SCIM", "proxy")
    with simulated() as (_, url):
        assert "provisioning" not in doctor(url)[1]
        code, found = doctor(url, PASSFERRY_ORGS_DEFAULT_SCIM="proxy")
        assert (code, found["provisioning"]["level"]) == (0, "warn")
        assert found["provisioning"]["message"].endswith("changed and deleted by okta, portal")
        assert found["provisioning"]["remedy"].endswith(": portal")
        found = doctor(url, PASSFERRY_SOURCES_PORTAL_SCIM="passwords")[1]["provisioning"]
        assert (found["level"], found["message"].endswith("deleted by okta")) == ("ok", True)


def test_a_table_that_guards_nobody_is_a_warning(
    cli: Cli, doctor: Any, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slip in the name of a source leaves it without its guards, and nothing else would say so."""
    assert cli("access", "add", "okta").code == 0
    monkeypatch.setenv("PASSFERRY_SOURCES_OKTAA_NEVER", "root@example.com")
    with simulated() as (_, url):
        code, found = doctor(url)
        assert (code, found["sources"]["level"]) == (0, "warn")
        assert found["sources"]["message"].startswith("[sources.oktaa] guards nobody")
        assert cli("access", "add", "Oktaa").code == 0
        assert "sources" not in doctor(url)[1]


def test_an_org_that_was_taken_out_is_a_warning_whose_remedies_work(
    cli: Cli, doctor: Any, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of its live changes, and not of its pause, which nobody can end; once they are cancelled of nothing."""
    with simulated() as (_, url):
        with monkeypatch.context() as patch:
            patch.setenv("PASSFERRY_ORGS_EMEA_TARGET", "scim")
            patch.setenv("PASSFERRY_ORGS_EMEA_BASE_URL", "https://scim.example.com/v2")
            patch.setenv("PASSFERRY_ORGS_EMEA_TOKEN", "a-token")
            asyncio.run(_leave_a_change("emea"))
        code, found = doctor(url)
        assert (code, found["database"]["level"]) == (0, "warn")
        assert found["database"]["message"].endswith("nobody looks after its live changes: 1")
        assert "`passferry changes list --state pending,parked --org emea`" in found["database"]["remedy"]
        listed = cli("changes", "list", "--state", "pending,parked", "--org", "emea", "--json")
        (change,) = json.loads(listed.out)["changes"]
        assert cli("changes", "cancel", change["changeId"]).code == 0
        assert doctor(url)[1]["database"]["level"] == "ok"


async def _leave_a_change(org: str) -> None:
    """A pending change of ``org``, which is paused; as `serve` opens its state."""
    stores = state.open_stores(load_settings(None), time(), create=True)
    try:
        sealed = stores.sealer.seal(b"Correct-Horse-7", Binding("password", org, "u@example.com", "one"))
        user = Reference("userName", "u@example.com")
        await stores.accept.accept([NewChange("one", org, user, "hr", sealed, time(), time() + 60)], judge)
        await stores.delivery.set_org(org, "operator", None, "test", time())
    finally:
        stores.database.close()


def test_a_rotation_that_was_cut_short_and_an_old_ring_are_found(doctor: Any, made: Path, cli: Cli) -> None:
    """Two keys in the ring are a warning, a ring from before a rotation fails, each with its remedy."""
    ring = load_settings(None).key_file
    before = ring.read_bytes()
    with simulated() as (_, url):
        KeyFile(ring, time).prepare()
        found = doctor(url)[1]["key file"]
        assert (found["level"], "on each" in found["remedy"]) == ("warn", True)
        KeyFile(ring, time).advance()
        found = doctor(url)[1]["key file"]
        assert (found["level"], found["remedy"]) == ("warn", "`passferry keys rotate` finishes it")
        assert cli("keys", "rotate").code == 0
        assert doctor(url)[1]["key file"]["level"] == "ok"
        ring.write_bytes(before)
        code, found = doctor(url)
        assert (code, found["database"]["level"]) == (2, "fail")
        assert "the key ring lacks the key" in found["database"]["message"]


def test_a_file_that_is_no_database_fails_with_2(doctor: Any, made: Path) -> None:
    """Rubbish in the database's place is a finding, not a traceback."""
    (made / "passferry.db").write_bytes(b"rubbish" * 1000)
    with simulated() as (_, url):
        code, found = doctor(url)
    assert (code, found["database"]["level"]) == (2, "fail")


def test_keys_and_places_that_others_may_use_fail_with_2(doctor: Any, made: Path, clean: Path) -> None:
    """An open key file, a lost one and an open state directory: each named, each with its remedy."""
    ring = clean / "keys" / "ring"
    with simulated() as (_, url):
        ring.chmod(0o644)
        made.chmod(0o777)
        code, found = doctor(url)
        assert (code, found["key file"]["level"], found["state"]["level"]) == (2, "fail", "fail")
        assert "chmod 600" in found["key file"]["remedy"]
        assert "chmod 700" in found["state"]["remedy"]
        made.chmod(0o700)
        ring.unlink()
        code, found = doctor(url)
        assert (code, found["key file"]["level"]) == (2, "fail")
        assert "back-up" in found["key file"]["remedy"]


@pytest.mark.parametrize(
    ("days", "level", "code"), [(22.0, "ok", 0), (20.0, "warn", 0), (-1.0, "fail", 2), (None, None, 0)]
)
def test_the_end_of_our_own_certificate_is_foreseen(
    doctor: Callable[..., Any], tmp_path: Path, days: float | None, level: str | None, code: int
) -> None:
    """Three weeks before it is a warning, afterwards a failure; without TLS there is nothing to say."""
    files = {}
    if days is not None:
        cert, key = Authority(tmp_path / "tls").issue("gateway", valid=days * DAY)
        files = {"PASSFERRY_TLS_CERT": str(cert), "PASSFERRY_TLS_KEY": str(key)}
    with simulated() as (_, url):
        ended, found = doctor(url, **files)
    assert found.get("certificate", {}).get("level") == level
    assert ended == code
