"""The pages under /simulator/: what arrived, and every setting while it runs.

They need no key, which is why the stand-in listens on loopback only. `Host` is checked, so that a web page
of somebody else cannot read them through a name that it points here (DNS rebinding).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote

from passferry.simulator import page
from passferry.simulator.directory import User, iso
from passferry.simulator.faults import FAULTS, Fault
from passferry.simulator.settings import why
from passferry.simulator.wire import Reply, Request
from passferry.simulator.world import answer

if TYPE_CHECKING:
    from passferry.simulator.inspection import Simulator

_LOOPBACK = frozenset({"", "localhost", "127.0.0.1", "[::1]", "testserver"})
_PORT = re.compile(r":\d+$")
_SAFE = (
    (
        "Content-Security-Policy",
        "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
)


def answer_control(simulator: Simulator, request: Request) -> Reply:
    """Answer a request below /simulator/."""
    if _PORT.sub("", request.headers.get("host", "")) not in _LOOPBACK:
        return _problem(403, "this page answers on loopback names only")
    if request.method in ("POST", "PATCH", "DELETE") and "origin" in request.headers:
        return _problem(403, "not from a web page")
    rest = [unquote(part) for part in request.path.strip("/").split("/")[1:]]
    handler = _HANDLERS.get((request.method, rest[0] if rest else "", len(rest)))
    if handler is None:
        return _problem(404, "there is no such page")
    try:
        return handler(simulator, request, rest)
    except (ValueError, KeyError) as error:
        text = "no such user, client or organization" if isinstance(error, KeyError) else str(error)
        return _problem(404 if isinstance(error, KeyError) else 400, text)


def _problem(status: int, message: str) -> Reply:
    return answer(status, {"message": message})


def _object(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(request.body)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise ValueError("a JSON object is wanted")
    return body


def _page(simulator: Simulator, request: Request, rest: list[str]) -> Reply:
    return Reply(200, (("Content-Type", "text/html; charset=utf-8"), *_SAFE), page.render(simulator).encode())


def _settings(simulator: Simulator, request: Request, rest: list[str]) -> Reply:
    if request.method == "PATCH":
        body = _object(request)
        calm = body.pop("calm", False)
        settings = simulator.settings
        if calm is True:
            settings = settings.changed({"faults": dict.fromkeys((fault.value for fault in Fault), 0.0)})
        simulator.settings = settings.changed(body)
    return answer(200, simulator.settings.as_json())


def _explain(simulator: Simulator, request: Request, rest: list[str]) -> Reply:
    switches = {name: why(name) for name in simulator.settings.as_json()}
    return answer(200, {"settings": switches, "faults": {f.value: info.why for f, info in FAULTS.items()}})


def _faults(simulator: Simulator, request: Request, rest: list[str]) -> Reply:
    if request.method == "DELETE":
        simulator.clear_planned()
    if request.method == "POST":
        body = _object(request)
        count = body.get("count", 1)
        if not isinstance(count, int) or not 1 <= count <= 10_000:
            raise ValueError("count: a number from 1 to 10000 is wanted")
        path, method = str(body.get("path", "*")), str(body.get("method", "*"))
        simulator.next(str(body.get("fault")), method=method, path=path, count=count)
    waiting = [
        {"fault": one.fault.value, "method": one.method, "path": one.path} for one in simulator.planned
    ]
    return answer(201 if request.method == "POST" else 200, {"planned": waiting})


def _client(simulator: Simulator, request: Request, rest: list[str]) -> Reply:
    secret = _object(request).get("secret")
    if not isinstance(secret, str) or not secret:
        raise ValueError("secret: a text is wanted")
    simulator.change_secret(rest[1], secret)
    return Reply(204)


def _org(request: Request) -> str | None:
    return parse_qs(request.query, keep_blank_values=True).get("org", [None])[-1]


def _user(simulator: Simulator, request: Request, rest: list[str]) -> Reply:
    user = simulator.user(rest[1], _org(request))
    body = _brief(user) | {
        "password": user.password,
        "writes": [
            {"time": iso(w.time), "via": w.via, "correlationId": w.correlation_id, "client": w.client}
            for w in user.writes
        ],
        "profile": simulator.profile(user.id, _org(request)),
    }
    return answer(200, body)


def _brief(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "userName": user.user_name,
        "active": user.active,
        "version": str(user.version),
        "passwordWrites": len(user.writes),
    }


def _users(simulator: Simulator, request: Request, rest: list[str]) -> Reply:
    return answer(200, {"users": [_brief(user) for user in simulator.directory(_org(request) or "")]})


def _journal(simulator: Simulator, request: Request, rest: list[str]) -> Reply:
    limit = parse_qs(request.query).get("limit", ["100"])[-1]
    if not limit.isascii() or not limit.isdigit() or len(limit) > 7:
        raise ValueError("limit: a whole number is wanted")
    entries = simulator.journal()[-int(limit) :] if int(limit) else []
    return answer(200, {"requests": [entry.as_json() for entry in reversed(entries)]})


def _stats(simulator: Simulator, request: Request, rest: list[str]) -> Reply:
    return answer(200, simulator.stats())


def _reset(simulator: Simulator, request: Request, rest: list[str]) -> Reply:
    simulator.forget()
    return Reply(204)


_Handler = Callable[["Simulator", Request, list[str]], Reply]
_HANDLERS: dict[tuple[str, str, int], _Handler] = {
    ("GET", "", 0): _page,
    ("GET", "settings", 1): _settings,
    ("PATCH", "settings", 1): _settings,
    ("GET", "explain", 1): _explain,
    ("GET", "faults", 1): _faults,
    ("POST", "faults", 1): _faults,
    ("DELETE", "faults", 1): _faults,
    ("PATCH", "clients", 2): _client,
    ("GET", "users", 1): _users,
    ("GET", "users", 2): _user,
    ("GET", "journal", 1): _journal,
    ("GET", "stats", 1): _stats,
    ("POST", "reset", 1): _reset,
}
