"""The stand-in as a program."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from passferry.simulator import Fault, Settings, Simulator, make, parse_clients, settings_text
from passferry.simulator.exact_json import Number, dumps, loads
from simulator.caller import Caller, calm

PROGRAM = """
from passferry.simulator import run_simulate
run_simulate(port=0, seed=3, users=12, calm=True, rate=50, window=5, ready=lambda url: print(url, flush=True))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_simulate_says_where_it_answers_and_ends_on_a_signal(number: signal.Signals) -> None:
    """ready gets the URL once it answers; SIGTERM and SIGINT end it with status 0."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with urllib.request.urlopen(f"{url}/simulator/stats", timeout=10) as answer:
            assert json.load(answer)["users"] == 12
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{url}/api/v2/tokens/me", timeout=10)
        process.send_signal(number)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()


def test_make_turns_options_into_a_simulator() -> None:
    """Each option of the command line reaches its place."""
    simulator = make(
        client_id="a", client_secret="b", seed=5, users=7, rate=9, window=2, latency=0.1, calm=True
    )
    assert set(simulator.clients) == {"a"}
    assert len(simulator.directory()) == 7
    settings = simulator.settings
    assert (settings.rate, settings.window, settings.latency) == (9, 2, 0.1)
    assert not any(settings.faults.values())
    assert any(make(users=1).settings.faults.values())
    with pytest.raises(ValueError, match="rate"):
        make(rate=-1)


def test_more_clients_are_a_number_or_pairs() -> None:
    """The two forms of --clients; a bad one is refused without repeating it."""
    assert [client.id for client in parse_clients("2")] == ["simulator-2", "simulator-3"]
    pairs = parse_clients("a:x, b:y:z", separate=True)
    assert [(client.id, client.secret, client.org) for client in pairs] == [
        ("a", "x", "a"),
        ("b", "y:z", "b"),
    ]
    assert parse_clients("") == ()
    with pytest.raises(ValueError, match="NAME:SECRET") as caught:
        parse_clients("very-secret-without-a-name")
    assert "very-secret" not in str(caught.value)
    with pytest.raises(ValueError, match="100000"):
        parse_clients("999999")


def test_the_clients_of_parse_clients_get_tokens() -> None:
    """A fleet of clients, each with an organization of its own."""
    clients = parse_clients("2", separate=True)
    simulator = Simulator(Settings.calm(), users=3, clients=clients)
    callers = [Caller(simulator, client.id, client.secret) for client in clients]
    assert len({caller.user()["id"] for caller in callers}) == 2


def test_the_printed_settings_name_both_hosts_and_the_client() -> None:
    """What has to be exported to reach the stand-in."""
    text = settings_text("http://127.0.0.1:8090", "simulator", "simulator-secret")
    assert text.splitlines() == [
        "GENESYS_API_URL=http://127.0.0.1:8090",
        "GENESYS_LOGIN_URL=http://127.0.0.1:8090",
        "GENESYS_CLIENT_ID=simulator",
        "GENESYS_CLIENT_SECRET=simulator-secret",
    ]


def test_the_levers_for_tests_act_as_an_administrator_would() -> None:
    """edit, touch, delete and revoke_tokens change what the API shows."""
    caller = calm()
    version = int(caller.user()["meta"]["version"])
    caller.simulator.touch("agent001@example.com")
    caller.simulator.edit("agent001@example.com", {"title": "New", "externalId": None})
    user = caller.user()
    assert (user["title"], "externalId" in user, int(user["meta"]["version"])) == ("New", False, version + 2)
    caller.simulator.delete(user["id"])
    assert (
        caller.send("GET", "/api/v2/scim/v2/users", filter=f'id eq "{user["id"]}"').json["totalResults"] == 0
    )
    caller.simulator.revoke_tokens()
    assert caller.send("GET", "/api/v2/tokens/me").status == 401


def test_a_profile_handed_out_is_a_copy() -> None:
    """A test that changes what it was given does not change the user."""
    simulator = calm().simulator
    simulator.profile("agent005@example.com")["emails"].clear()
    assert simulator.profile("agent005@example.com")["emails"]


def test_settings_hold_every_fault_and_refuse_what_is_none() -> None:
    """calm takes changes; faults are named by their values."""
    assert Settings.calm(faults={"slow": 1}).faults[Fault.SLOW] == 1
    with pytest.raises(ValueError, match="earthquake"):
        Settings().changed({"faults": {"earthquake": 1}})


@pytest.mark.parametrize(
    "text", ["5", "5.0", "0.10", "1E400", "-0.0", "90071992547409931234", '"é\\u0000\\n"', "[]", "{}"]
)
def test_json_is_written_as_it_was_read(text: str) -> None:
    """Parse, then write, is the identity on these texts."""
    assert dumps(loads(text.encode())) == text.encode()


def test_a_lone_surrogate_survives_as_its_escape() -> None:
    """What has no UTF-8 form is written as JSON writes it."""
    assert dumps(loads(b'"\\ud800"')) == b'"\\ud800"'
    assert float(Number("5.0")) == 5
