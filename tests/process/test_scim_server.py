"""The whole gateway in front of a SCIM service provider that nobody here wrote: scim2-server."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from scim2_models import UnauthorizedException
from scim2_server.applications.asgi import ASGIApplication
from scim2_server.memory import AsyncInMemoryStorage
from scim2_server.utils import load_default_provider

from process.harness import Client, call, home, until

TOKEN = "token-of-the-provider"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
ADA = {
    "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User", ENTERPRISE],
    "userName": "Ada@example.com",
    "name": {"givenName": "Ada", "familyName": "Łovelace"},
    "emails": [{"value": "ada@example.com", "type": "work", "primary": True}],
    "phoneNumbers": [{"value": "+13175550001", "type": "work"}],
    "active": True,
    "externalId": "hr-1",
    ENTERPRISE: {"department": "Support", "employeeNumber": "7"},
}


class Application(ASGIApplication):
    """The provider, for bearers of the token."""

    def check_auth(self, request: Any) -> None:
        if request.header("Authorization") != f"Bearer {TOKEN}":
            raise UnauthorizedException


@contextmanager
def provider() -> Iterator[tuple[str, Any]]:
    """Its root URL and what it stores; it runs in a thread."""
    storage = AsyncInMemoryStorage()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            Application(storage, load_default_provider()), log_level="error", lifespan="off"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            until(lambda: server.started, 20, "the provider")
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/v2", storage
        finally:
            server.should_exit = True
            thread.join(10)


@pytest.mark.parametrize("write", ["scim-put", "scim-patch"])
def test_a_foreign_scim_provider_gets_the_password_and_keeps_the_profile(tmp_path: Path, write: str) -> None:
    """Accepted by email and by id, applied at the provider, every other attribute the same."""
    with provider() as (url, storage):

        def ask(method: str, path: str, body: Any = None) -> Any:
            headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/scim+json"}
            answer = call(method, url + path, body=body, headers=headers)
            assert answer.status in (200, 201), answer.raw
            return answer.json

        def password() -> str | None:
            found = next(one for one in storage.resources if one.id == ada)
            stored: str | None = found.password
            return stored

        ada = ask("POST", "/Users", ADA)["id"]
        before = ask("GET", f"/Users/{ada}")
        target = {
            "PASSFERRY_ORGS_DEFAULT_TARGET": "scim",
            "PASSFERRY_ORGS_DEFAULT_WRITE": write,
            "PASSFERRY_ORGS_DEFAULT_BASE_URL": url,
            "PASSFERRY_ORGS_DEFAULT_TOKEN": TOKEN,
            "PASSFERRY_VERIFIER": "false",
        }
        with home(tmp_path, target) as place:
            client = Client(place.serve().url, place.key())
            by_name = client.send("ada@example.com", "By-name-Pass-1!")
            assert (by_name.status, by_name.json["status"]) == (200, "applied")
            assert password() == "By-name-Pass-1!"
            by_id = client.send(ada, "By-id-Pass-2!")
            assert (by_id.status, by_id.json["status"]) == (200, "applied")
            assert password() == "By-id-Pass-2!"
            unknown = client.send("nobody@example.com", "By-name-Pass-1!")
            assert unknown.status == 502
            assert unknown.json["code"] == "user.unknown"
            assert place.run("audit", "verify").code == 0
        after = ask("GET", f"/Users/{ada}")
        for profile in (before, after):
            del profile["meta"]
        assert after == before
