"""A tiny client of the engine and a clock that tests move by hand."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from passferry.simulator import Reply, Request, Settings, Simulator

USERS = "/api/v2/scim/v2/users"
GOOD = "Correct-Horse-9"


class Clock:
    """Epoch seconds that stand still until they are moved."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Answer:
    """A reply with its body already read."""

    reply: Reply
    json: Any

    @property
    def status(self) -> int:
        return self.reply.status

    @property
    def code(self) -> Any:
        return self.json.get("code")

    def header(self, name: str) -> str | None:
        return self.reply.header(name)


def basic(name: str, secret: str) -> str:
    """An HTTP Basic header."""
    return "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()


class Caller:
    """Sends requests to a simulator with a token of its own."""

    def __init__(
        self, simulator: Simulator, client: str = "simulator", secret: str = "simulator-secret"
    ) -> None:
        self.simulator = simulator
        self.client, self.secret = client, secret
        self.token = ""

    def fetch_token(self, **form: str) -> Answer:
        """Ask the token endpoint, and keep the token it gives."""
        headers = {
            "authorization": basic(self.client, self.secret),
            "content-type": "application/x-www-form-urlencoded",
        }
        body = urlencode({"grant_type": "client_credentials"} | form).encode()
        answer = read(self.simulator.handle(Request("POST", "/oauth/token", "", headers, body)))
        if answer.status == 200:
            self.token = answer.json["access_token"]
        return answer

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
        **query: Any,
    ) -> Answer:
        """Send one request; `body` is bytes or becomes JSON, query values may be lists."""
        if not self.token:
            self.fetch_token()
        raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        sent = {
            "authorization": f"Bearer {self.token}",
            "content-type": "application/json",
            **(headers or {}),
        }
        return read(self.simulator.handle(Request(method, path, urlencode(query, doseq=True), sent, raw)))

    def user(self, name: str = "agent001@example.com") -> dict[str, Any]:
        """A user by userName, through the API."""
        found = self.send("GET", USERS, filter=f'userName eq "{name}"').json["Resources"]
        assert len(found) == 1
        return dict(found[0])

    def put(
        self, user: dict[str, Any], *, headers: Mapping[str, str] | None = None, **changes: Any
    ) -> Answer:
        """Put a user back as it was read, with some attributes changed."""
        body = {name: value for name, value in user.items() if name not in ("id", "meta", "groups")} | changes
        return self.send("PUT", f"{USERS}/{user['id']}", body, headers=headers)

    def patch(self, user_id: str, *operations: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """Send PatchOp operations."""
        body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": list(operations)}
        return self.send("PATCH", f"{USERS}/{user_id}", body, headers=headers)

    def native(self, user_id: str, password: Any = GOOD) -> Answer:
        """Set a password by the native call."""
        return self.send("POST", f"/api/v2/users/{user_id}/password", {"newPassword": password})


def read(reply: Reply) -> Answer:
    """A reply with its JSON, {} when it has none."""
    kind = reply.header("content-type") or ""
    return Answer(reply, json.loads(reply.body) if "json" in kind and reply.body else {})


def calm(clock: Clock | None = None, users: int = 40, **settings: Any) -> Caller:
    """A caller of a simulator without faults."""
    return Caller(Simulator(Settings.calm(**settings), clock=clock or Clock(), users=users))


def inactive_user(caller: Caller) -> str:
    """The id of a user who is made inactive."""
    user = caller.simulator.user("agent002@example.com")
    caller.simulator.edit(user.id, {"active": False})
    return user.id
