"""A gateway for hooks: it takes what the real one takes, remembers it, and goes away when told to."""

import base64
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from passferry import hand_over
from passferry.domain.password import Password
from passferry.domain.policy import Rules, check
from passferry.hooks.settings import HookSettings

PRIVATE = bytes(range(64, 96))
PUBLIC = hand_over.public_of(PRIVATE)
KEY_ID = hand_over.key_id(PUBLIC)
Reply = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class Taken:
    """One change as it arrived. ``sealed``: as a letter."""

    user: str
    password: str = field(repr=False)
    changed_at: str | None
    key: str
    sealed: bool
    path: str


class FakeGateway:
    """Listens on a port of its own. ``answers``: called for each change, None takes it."""

    def __init__(self) -> None:
        self.taken: list[Taken] = []
        self.checked: list[tuple[str, str]] = []
        self.paths: list[str] = []
        self.answer: Callable[[Taken], Reply | None] = lambda change: None
        self.instead: Reply | None = None  # of every request
        self.verdict: Reply | None = None  # of every check
        self.private = PRIVATE
        self.now: Callable[[], float] = time.time  # epoch seconds, of the Date of its answers
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    def __enter__(self) -> "FakeGateway":
        self.come()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def come(self) -> None:
        """Answer, on the same port as before."""
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                gateway.respond(self, b"")

            def do_POST(self) -> None:
                gateway.respond(self, self.rfile.read(int(self.headers["Content-Length"])))

            def date_time_string(self, timestamp: float | None = None) -> str:
                return formatdate(gateway.now(), usegmt=True)

            def log_message(self, *args: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def go(self) -> None:
        """Refuse connections from now on."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def respond(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """Answer one request."""
        self.paths.append(handler.path)
        status, answer = self.instead or self._reply(handler, body)
        text = json.dumps(answer).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        with suppress(OSError):  # it gave up
            handler.wfile.write(text)

    def _reply(self, handler: BaseHTTPRequestHandler, body: bytes) -> Reply:
        if handler.headers["Authorization"] != "Bearer pf_id_secret":
            return 401, {"success": False, "code": "access.key.refused"}
        path = handler.path.rpartition("/")[2]
        if path == "key":
            public = hand_over.public_of(self.private)
            coded = base64.b64encode(public).decode()
            key = {"keyId": hand_over.key_id(public), "publicKey": coded, "suite": hand_over.SUITE}
            return 200, {"success": True, "message": "", **key}
        if path == "check":
            return self._verdict(json.loads(body))
        if path == "sealed":
            return self._sealed(handler.path, body)
        return self._take(json.loads(body), handler.headers["Idempotency-Key"], handler.path, sealed=False)

    def _verdict(self, asked: dict[str, str]) -> Reply:
        self.checked.append((asked["userId"], asked["password"]))
        if self.verdict is not None:
            return self.verdict
        wrong = check(Password(asked["password"]), asked["userId"], Rules())
        if not wrong:
            return 200, {"success": True, "message": "the password meets the policy", "errors": []}
        errors = [{"code": each.code, "message": each.message} for each in wrong]
        message = "The password breaks the policy."
        return 400, {"success": False, "message": message, "code": "policy", "errors": errors}

    def _sealed(self, path: str, body: bytes) -> Reply:
        if hand_over.key_id_of(body) != hand_over.key_id(hand_over.public_of(self.private)):
            return 400, {"success": False, "message": "", "code": "sealed.key.unknown"}
        plaintext = hand_over.opened(self.private, body)
        if plaintext is None:
            return 400, {"success": False, "message": "", "code": "sealed.broken"}
        letter = json.loads(plaintext)
        return self._take(letter["body"], letter["idempotencyKey"], path, sealed=True)

    def _take(self, body: dict[str, str], key: str, path: str, *, sealed: bool) -> Reply:
        change = Taken(body["userId"], body["password"], body.get("changedAt"), key, sealed, path)
        instead = self.answer(change)
        if instead is not None:
            return instead
        self.taken.append(change)
        return 202, {"success": True, "message": "", "changeId": str(len(self.taken)), "status": "pending"}

    def settings(self, folder: Path, **more: Any) -> HookSettings:
        """Settings that lead here, with a spool in ``folder``."""
        values: dict[str, Any] = {"url": self.url, "key": "pf_id_secret", "spool": folder / "spool"}
        return HookSettings(**(values | more))

    def file(self, folder: Path, **more: Any) -> Path:
        """The same as a file."""
        values: dict[str, Any] = {"url": self.url, "api_key": "pf_id_secret", "spool": str(folder / "spool")}
        lines = [f"{name} = {json.dumps(value)}" for name, value in (values | more).items()]
        path = folder / "hook.toml"
        path.write_text("[hook]\n" + "\n".join(lines) + "\n")
        path.chmod(0o600)
        return path
