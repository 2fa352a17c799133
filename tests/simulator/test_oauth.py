"""The token endpoint."""

import pytest

from passferry.simulator import Client, Request, Settings, Simulator
from simulator.caller import Caller, Clock, basic, calm, read


def ask(caller: Caller, *, headers: dict[str, str], body: bytes = b"grant_type=client_credentials") -> object:
    """Send one request."""
    reply = caller.simulator.handle(Request("POST", "/oauth/token", "", headers, body))
    answer = read(reply)
    return answer.status, answer.json


FORM = {"content-type": "application/x-www-form-urlencoded"}


def test_the_right_secret_gives_a_bearer_token_that_the_api_accepts() -> None:
    """Client credentials over Basic give a token; the API answers to it."""
    caller = calm()
    answer = caller.fetch_token()
    assert answer.status == 200
    assert answer.json["token_type"] == "bearer"
    assert answer.json["expires_in"] == 86400
    assert caller.send("GET", "/api/v2/tokens/me").json["OAuthClient"]["id"] == "simulator"


@pytest.mark.parametrize(
    ("authorization", "description"),
    [
        (basic("simulator", "wrong"), "authentication failed"),
        (basic("nobody", "simulator-secret"), "client not found"),
        ("Basic ???", "client not found"),
        ("", "client not found"),
    ],
)
def test_wrong_credentials_are_invalid_client_with_the_description_twice(
    authorization: str, description: str
) -> None:
    """The three members that Genesys's own SDK decodes, with the description doubled."""
    wanted = {"error": "invalid_client", "description": description, "error_description": description}
    assert ask(calm(), headers=FORM | {"authorization": authorization}) == (400, wanted)


def test_invalid_client_status_can_be_401() -> None:
    """Switch invalid_client_status."""
    caller = calm(invalid_client_status=401)
    caller.secret = "wrong"
    assert caller.fetch_token().status == 401


def test_another_grant_or_a_body_that_is_no_form_is_refused() -> None:
    """Only client_credentials in a form is served."""
    headers = FORM | {"authorization": basic("simulator", "simulator-secret")}
    other = ask(calm(), headers=headers, body=b"grant_type=password")
    assert other == (
        400,
        {"error": "unsupported_grant_type"} | _twice("grant type is not supported for this client"),
    )
    headers["content-type"] = "application/json"
    assert ask(calm(), headers=headers)[0] == 400  # type: ignore[index]


def _twice(text: str) -> dict[str, str]:
    return {"description": text, "error_description": text}


def test_a_scope_is_ignored_unless_unknown_scope_refuses_it() -> None:
    """Switch unknown_scope."""
    assert calm().fetch_token(scope="scim:users:write").status == 200
    assert (
        calm(unknown_scope="refused").fetch_token(scope="scim:users:write").json["error"] == "invalid_scope"
    )


def test_token_type_and_token_lifetime_are_as_set() -> None:
    """Switches token_type and token_lifetime, also with a lifetime of 450 days."""
    answer = calm(token_type="Bearer", token_lifetime=38_880_000).fetch_token()
    assert (answer.json["token_type"], answer.json["expires_in"]) == ("Bearer", 38_880_000)


def test_a_token_ends_with_its_lifetime() -> None:
    """One second before the end it works, at the end it is bad.credentials."""
    clock = Clock()
    caller = calm(clock, token_lifetime=300)
    caller.fetch_token()
    clock.now += 299
    assert caller.send("GET", "/api/v2/tokens/me").status == 200
    clock.now += 1
    answer = caller.send("GET", "/api/v2/tokens/me")
    assert (answer.status, answer.code) == (401, "bad.credentials")


def test_an_idle_token_dies_and_preserve_idle_does_not_revive_it() -> None:
    """Switch token_idle_seconds: use keeps it alive, a check with preserveIdleTTL does not."""
    clock = Clock()
    caller = calm(clock, token_idle_seconds=900)
    caller.fetch_token()
    for _ in range(3):
        clock.now += 800
        assert caller.send("HEAD", "/api/v2/tokens/me").status == 200
    clock.now += 800
    assert caller.send("HEAD", "/api/v2/tokens/me", preserveIdleTTL="true").status == 200
    clock.now += 200
    assert caller.send("HEAD", "/api/v2/tokens/me").status == 401


def test_a_disabled_client_gets_no_token_and_its_old_one_is_dead() -> None:
    """Switch disabled_clients."""
    caller = calm()
    caller.fetch_token()
    caller.simulator.set(disabled_clients=["simulator"])
    assert caller.send("GET", "/api/v2/tokens/me").code == "bad.credentials"
    assert caller.fetch_token().json["error"] == "invalid_client"


def test_several_clients_share_an_organization_or_have_one_each() -> None:
    """Clients see the users of their own organization only."""
    clients = (Client("a", "sa"), Client("b", "sb"), Client("c", "sc", org="c"))
    simulator = Simulator(Settings.calm(), users=3, clients=clients)
    a, b, c = Caller(simulator, "a", "sa"), Caller(simulator, "b", "sb"), Caller(simulator, "c", "sc")
    assert a.user()["id"] == b.user()["id"]
    assert a.user()["id"] != c.user()["id"]
    assert c.native(c.user()["id"]).status == 204
    assert simulator.password_of("agent001@example.com") is None
    assert simulator.password_of("agent001@example.com", org="c") is not None
    assert a.send("GET", f"/api/v2/scim/v2/users/{c.user()['id']}").status == 404


def test_other_methods_are_not_served() -> None:
    """GET on the token endpoint is 405."""
    assert calm().simulator.handle(Request("GET", "/oauth/token")).status == 405


def test_a_secret_is_in_no_repr() -> None:
    """Clients, tokens and requests hide what is secret."""
    caller = calm()
    caller.fetch_token()
    request = Request("GET", "/", headers={"authorization": caller.token}, body=b"hidden-body")
    shown = repr(caller.simulator.clients["simulator"]) + repr(caller.simulator.tokens()) + repr(request)
    assert "simulator-secret" not in shown
    assert caller.token not in shown
    assert "hidden-body" not in shown
