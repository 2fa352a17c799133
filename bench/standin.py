"""A target for a thousand orgs that costs little: tokens, users to read and write, and counts of writes.

It knows HTTP/1.1 as far as the gateway speaks it, checks nothing and keeps nothing but counts. Whose request
it is, the token says: it is the client's id. For anything truer there is `passferry simulate`.
"""

import asyncio
import base64
import json
from collections import Counter
from typing import cast

import uvloop

USER = (
    '{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"id":"%s","active":true,'
    '"userName":"%s@example.com","displayName":"Anna Müller","title":"Senior agent","phoneNumbers":'
    '[{"value":"+13175550001","type":"work","primary":true}],"emails":[{"value":"a1@work.example.com","type":"work","primary":false}],'
    '"roles":[{"value":"employee"}],"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User":{"division":'
    '"Home","department":"Back office","employeeNumber":"10001"},"meta":{"version":"%s"}}'
)
USERS_OF_AN_ORG = 100_000
"""So many that reading pages of them never pays."""

writes: Counter[str] = Counter()


class Target(asyncio.Protocol):
    """One connection."""

    def __init__(self) -> None:
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
            whole = end + 4 + int(headers.get("content-length", "0"))
            if len(self._received) < whole:
                return
            self._received = self._received[whole:]
            method, path, _ = head[0].split(" ")
            self._answer(method, path, headers)

    def _answer(self, method: str, path: str, headers: dict[str, str]) -> None:
        version = "2" if method == "PUT" else "1"
        body = _body(method, path, headers.get("authorization", ""), version).encode()
        assert self._transport is not None
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            b'ETag: "%s"\r\nContent-Length: %d\r\n\r\n%s' % (version.encode(), len(body), body)
        )


def _body(method: str, path: str, authorization: str, version: str) -> str:
    kind, _, credentials = authorization.partition(" ")
    if path == "/oauth/token":
        client = base64.b64decode(credentials).decode().partition(":")[0] if kind == "Basic" else ""
        return json.dumps({"access_token": client, "token_type": "bearer", "expires_in": 86400})
    if path == "/writes":
        return json.dumps(writes)
    if "?" in path:
        return json.dumps({"totalResults": USERS_OF_AN_ORG, "Resources": []})
    if method == "PUT":
        writes[credentials] += 1
    user_id = path.rpartition("/")[2]
    return USER % (user_id, user_id, version)


async def main() -> None:
    """Serve until SIGTERM."""
    server = await asyncio.get_running_loop().create_server(Target, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
