"""A target that answers whatever bytes a test wants, over a socket."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import unquote

from process.harness import LoopThread

PREFIX = "/api/v2/scim/v2/users/"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    method: str
    path: str
    head: bytes
    body: bytes

    @property
    def user(self) -> str:
        return unquote(self.path.partition("?")[0].removeprefix(PREFIX))


Behaviour = Callable[[Asked], bytes | None]
"""The bytes to answer before the connection is closed; None keeps silent."""


def reply(
    status: int, body: bytes, *headers: str, kind: str = "application/json", length: int | None = None
) -> bytes:
    """An HTTP answer; ``length`` is the Content-Length to claim, -1 claims none."""
    lines = [f"HTTP/1.1 {status} Whatever", "Connection: close"]
    if kind:
        lines.append(f"Content-Type: {kind}")
    if length != -1:
        lines.append(f"Content-Length: {len(body) if length is None else length}")
    return "\r\n".join([*lines, *headers, "", ""]).encode("latin-1", "replace") + body


@dataclass(slots=True)
class RawUser:
    """What is held of a user."""

    version: int = 1
    passwords: list[str] = field(default_factory=list)

    def resource(self, user_id: str) -> dict[str, Any]:
        return {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "id": user_id,
            "userName": f"{user_id}@example.com",
            "active": True,
            "meta": {"resourceType": "User", "version": str(self.version)},
        }


def always(answer: bytes | None) -> Behaviour:
    """The same answer to everything; None keeps silent."""
    return lambda asked: answer


class RawTarget:
    """Token endpoint, GET and PUT of any user; ``reads``, ``writes`` and ``tokens`` replace the good ways."""

    def __init__(self) -> None:
        self.users: dict[str, RawUser] = {}
        self.reads: dict[str, Behaviour] = {}
        self.writes: dict[str, Behaviour] = {}
        self.tokens: list[Behaviour] = []
        self.asked: list[Asked] = []
        self.url = ""
        self._thread = LoopThread()
        self._server: Any = None

    def __enter__(self) -> "RawTarget":
        self._thread.start()
        self._server = self._thread.run(asyncio.start_server(self._connected, "127.0.0.1", 0, limit=2**22))
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async def close() -> None:
            self._server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self._thread.run(close())
        self._thread.stop()

    def user(self, user_id: str) -> RawUser:
        return self.users.setdefault(user_id, RawUser())

    def count(self, user_id: str, method: str) -> int:
        """How often a user was read (GET) or written (PUT)."""
        return sum(one.method == method and one.user == user_id for one in list(self.asked))

    def mend(self) -> None:
        """From now on everything is answered well."""
        self.reads.clear()
        self.writes.clear()
        self.tokens.clear()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            method, path, _ = lines[0].split(" ")
            lengths = [line.partition(":")[2] for line in lines if line.lower().startswith("content-length:")]
            body = await reader.readexactly(int(lengths[0])) if lengths else b""
            asked = Asked(method, path, head, body)
            self.asked.append(asked)
            answer = self._answer(asked)
            if answer is None:
                await asyncio.sleep(60)
            else:
                writer.write(answer)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the gateway went away
        finally:
            writer.close()

    def _answer(self, asked: Asked) -> bytes | None:
        if asked.path == "/oauth/token":
            if self.tokens:
                return self.tokens.pop(0)(asked)
            granted = {"access_token": "raw-token", "token_type": "bearer", "expires_in": 3600}
            return reply(200, json.dumps(granted).encode())
        if asked.method == "GET":
            return self.reads.get(asked.user, self.good_read)(asked)
        return self.writes.get(asked.user, self.good_write)(asked)

    def good_read(self, asked: Asked) -> bytes:
        """The user."""
        user = self.user(asked.user)
        body = json.dumps(user.resource(asked.user)).encode()
        return reply(200, body, f'ETag: "{user.version}"', kind="application/scim+json")

    def store(self, asked: Asked) -> None:
        """Execute a write."""
        user = self.user(asked.user)
        user.version += 1
        user.passwords.append(json.loads(asked.body)["password"])

    def stored_but(self, answer: bytes) -> Behaviour:
        """Execute a write, and answer with ``answer`` all the same."""

        def behave(asked: Asked) -> bytes:
            self.store(asked)
            return answer

        return behave

    def good_write(self, asked: Asked) -> bytes:
        """Execute it and answer with the user."""
        self.store(asked)
        return self.good_read(asked)
