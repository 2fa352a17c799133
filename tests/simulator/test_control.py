"""The pages under /simulator/."""

import json
from typing import Any

import pytest

from passferry.simulator import FAULTS, Fault, Request
from simulator.caller import GOOD, Answer, Caller, calm, read


def ask(caller: Caller, method: str, path: str, body: Any = None, query: str = "", **headers: str) -> Answer:
    """Send one request."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    sent = {"host": "127.0.0.1:8090", **headers}
    return read(caller.simulator.handle(Request(method, f"/simulator/{path}", query, sent, raw)))


def test_a_user_page_shows_what_arrived() -> None:
    """The last password, every write with time, call and correlation id, and the profile."""
    caller = calm()
    user = caller.user()
    caller.native(user["id"], GOOD + "1")
    answer = caller.put(user, password=GOOD + "2")
    for reference in ("agent001@example.com", user["id"]):
        shown = ask(caller, "GET", f"users/{reference}").json
        assert shown["password"] == GOOD + "2"
        assert shown["passwordWrites"] == 2
        assert [write["via"] for write in shown["writes"]] == ["POST native", "PUT scim"]
        assert shown["writes"][1]["correlationId"] == answer.header("ININ-Correlation-Id")
        assert shown["writes"][0]["time"] == "2027-01-15T08:00:00.000Z"
        assert shown["profile"]["userName"] == "agent001@example.com"
    assert ask(caller, "GET", "users/nobody@example.com").status == 404


def test_settings_can_be_read_and_changed_while_it_runs() -> None:
    """PATCH replaces what it names; what GET shows can be sent back."""
    caller = calm()
    changed = ask(caller, "PATCH", "settings", {"rate": 7, "stale_if_match": "412", "faults": {"slow": 0.5}})
    assert changed.status == 200
    settings = caller.simulator.settings
    assert (settings.rate, settings.stale_if_match.value, settings.faults[Fault.SLOW]) == (7, "412", 0.5)
    shown = ask(caller, "GET", "settings").json
    assert shown == changed.json
    assert ask(caller, "PATCH", "settings", shown).json == shown
    assert ask(caller, "PATCH", "settings", {"calm": True}).json["faults"]["slow"] == 0


def test_all_mistakes_of_a_change_are_reported_together_and_nothing_is_changed() -> None:
    """Unknown names, wrong kinds and impossible probabilities."""
    caller = calm()
    before = caller.simulator.settings
    bad = {
        "rate": -1,
        "window": "x",
        "nonsense": 1,
        "if_match": "maybe",
        "quoted_version": 1,
        "token_type": 5,
    }
    answer = ask(caller, "PATCH", "settings", bad | {"disabled_clients": "x", "faults": {"slow": 2}})
    assert answer.status == 400
    for name in (*bad, "disabled_clients", "slow"):
        assert name in answer.json["message"]
    assert caller.simulator.settings == before
    for body in (b"{", b"[]", b"[" * 100_000):
        assert ask(caller, "PATCH", "settings", body).status == 400
    assert ask(caller, "PATCH", "settings", {"faults": {"earthquake": 1}}).status == 400
    assert ask(caller, "PATCH", "settings", {"faults": 1}).status == 400


def test_faults_can_be_planned_listed_and_cleared() -> None:
    """POST plans one-shot faults, GET lists them, DELETE drops them."""
    caller = calm()
    plan = {"fault": "unavailable", "method": "GET", "path": "/tokens/", "count": 2}
    assert ask(caller, "POST", "faults", plan).status == 201
    assert len(ask(caller, "GET", "faults").json["planned"]) == 2
    assert caller.send("GET", "/api/v2/tokens/me").status == 503
    assert ask(caller, "DELETE", "faults").json == {"planned": []}
    assert caller.send("GET", "/api/v2/tokens/me").status == 200
    for bad in ({"fault": "earthquake"}, {"fault": "slow", "count": 0}, {}):
        assert ask(caller, "POST", "faults", bad).status == 400


def test_the_journal_is_newest_first_and_bounded() -> None:
    """Requests with status, fault and correlation id, never a body or a token."""
    caller = calm()
    user_id = caller.user()["id"]
    caller.simulator.next("server_error")
    answer = caller.native(user_id)
    newest = ask(caller, "GET", "journal", query="limit=2").json["requests"]
    assert len(newest) == 2
    assert newest[0]["status"] == 500
    assert newest[0]["fault"] == "server_error"
    assert newest[0]["correlationId"] == answer.header("ININ-Correlation-Id")
    text = json.dumps(ask(caller, "GET", "journal").json)
    assert GOOD not in text
    assert caller.token not in text
    for _ in range(1200):
        caller.send("GET", "/api/v2/tokens/me")
    assert len(caller.simulator.journal()) == 1000
    assert ask(caller, "GET", "journal", query="limit=x").status == 400


def test_stats_count_requests_refusals_and_writes() -> None:
    """What a test of pacing wants to know."""
    caller = calm(rate=3)
    user_id = caller.user()["id"]
    for number in range(4):
        caller.native(user_id, f"{GOOD}{number}")
    stats = ask(caller, "GET", "stats").json
    assert (stats["requests"], stats["tokenRequests"], stats["rateLimited"]) == (6, 1, 2)
    assert (stats["passwordWrites"], stats["usersWritten"], stats["users"]) == (2, 1, 40)


def test_the_page_shows_passwords_escaped_and_says_that_it_is_not_for_production() -> None:
    """HTML without a script, with what arrived, whatever characters it has."""
    caller = calm()
    user_id = caller.user()["id"]
    caller.native(user_id, "<script>Aa1</script>")
    caller.simulator.edit(user_id, {"displayName": "<b>Bold</b>"})
    page = ask(caller, "GET", "").reply
    text = page.body.decode()
    assert "Not for production" in text
    assert "&lt;script&gt;Aa1&lt;/script&gt;" in text
    assert "<script" not in text
    assert "<b>Bold" not in text
    assert "default-src 'none'" in str(page.header("Content-Security-Policy"))


def test_reset_forgets_everything() -> None:
    """The seed's users again, no password, no token, no journal."""
    caller = calm()
    user_id = caller.user()["id"]
    caller.native(user_id)
    assert ask(caller, "POST", "reset").status == 204
    assert caller.simulator.password_of(user_id) is None
    assert caller.simulator.journal() == []
    assert caller.send("GET", "/api/v2/tokens/me").status == 401


def test_explain_gives_a_reason_for_every_setting_and_fault() -> None:
    """Nothing is there without a reason."""
    reasons = ask(calm(), "GET", "explain").json
    assert set(reasons["settings"]) == set(calm().simulator.settings.as_json())
    assert set(reasons["faults"]) == {fault.value for fault in FAULTS}
    assert all(len(text) > 15 for group in reasons.values() for text in group.values())


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8090", "127.0.0.1.evil.example:80"])
def test_another_host_name_is_refused(host: str) -> None:
    """A web page that points its own name here reads nothing."""
    assert ask(calm(), "GET", "stats", host=host).status == 403


def test_a_web_page_cannot_change_anything() -> None:
    """Requests with an Origin are refused where they would change something."""
    caller = calm()
    assert ask(caller, "POST", "reset", origin="https://evil.example").status == 403
    assert ask(caller, "GET", "stats", host="localhost:8090").status == 200
    assert ask(caller, "GET", "nothing").status == 404


def test_users_lists_everybody_with_their_state() -> None:
    """Also the inactive ones, of the organization that is asked for."""
    caller = calm()
    caller.simulator.edit("agent002@example.com", {"active": False})
    users = ask(caller, "GET", "users").json["users"]
    assert len(users) == 40
    assert users[1] == users[1] | {"userName": "agent002@example.com", "active": False, "passwordWrites": 0}
    assert ask(caller, "GET", "users", query="org=nobody").status == 404


def test_a_client_gets_another_secret_while_it_runs() -> None:
    """The old one is refused from then on; a token that it brought goes on."""
    caller = calm()
    user = caller.user()
    assert ask(caller, "PATCH", "clients/simulator", {"secret": "another-one"}).status == 204
    assert caller.put(user, password=GOOD).status == 200
    assert caller.fetch_token().json["error"] == "invalid_client"
    caller.secret = "another-one"
    assert caller.fetch_token().status == 200
    assert ask(caller, "PATCH", "clients/nobody", {"secret": "x"}).status == 404
    assert ask(caller, "PATCH", "clients/simulator", {"secret": ""}).status == 400
