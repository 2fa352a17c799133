"""What each fault does to one call: before it is handled, instead of it, or to its answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from email.utils import formatdate

from passferry.simulator.directory import touch
from passferry.simulator.errors import Refused, too_many
from passferry.simulator.faults import Fault, Scope
from passferry.simulator.settings import GatewayBody, Settings
from passferry.simulator.wire import Fate, Reply
from passferry.simulator.world import JSON, Call

_USER_WRITES = (
    ("PUT", re.compile(r"/api/v2/scim/(v2/)?users/[^/]+/?$", re.IGNORECASE)),
    ("PATCH", re.compile(r"/api/v2/scim/(v2/)?users/[^/]+/?$", re.IGNORECASE)),
    ("POST", re.compile(r"/api/v2/users/[^/]+/password$")),
)
_HTML = (
    "<html>\r\n<head><title>{0}</title></head>\r\n"
    "<body>\r\n<center><h1>{0}</h1></center>\r\n</body>\r\n</html>\r\n"
)
_TOKEN = frozenset({Scope.TOKEN, Scope.ANY})
_READ = frozenset({Scope.API, Scope.ANY})
_WRITE = frozenset({Scope.API, Scope.ANY, Scope.WRITE})


def scopes(method: str, path: str) -> frozenset[Scope]:
    """The kinds of request that this one is, for choosing a fault."""
    if path == "/oauth/token":
        return _TOKEN
    writes = any(method == verb and pattern.match(path) for verb, pattern in _USER_WRITES)
    return _WRITE if writes else _READ


def before(fault: Fault | None, call: Call) -> Reply | None:
    """Let a fault strike an authenticated call before it is handled.

    Returns the answer that takes the place of handling it, or None to go on. Raises Refused likewise.
    """
    if fault in _REFUSALS:
        raise _REFUSALS[fault](call.now)
    if fault is Fault.EMPTY_BODY:
        return Reply(500)
    if fault is Fault.EDITED_BETWEEN:
        user = call.directory.get(next((part for part in call.parts if call.directory.get(part)), ""))
        if user is not None:
            touch(user, call.now)
    return None


_REFUSALS: dict[Fault, Callable[[float], Refused]] = {
    Fault.THROTTLED_1: lambda now: too_many(1, "1"),
    Fault.THROTTLED_42: lambda now: too_many(42, "42"),
    Fault.THROTTLED_181: lambda now: too_many(181, "181"),
    Fault.THROTTLED_SILENT: lambda now: too_many(None, None),
    Fault.THROTTLED_DATE: lambda now: too_many(5, formatdate(now + 5, usegmt=True)),
    Fault.UNAVAILABLE: lambda now: Refused(503, "service.unavailable", headers=(("Retry-After", "2"),)),
    Fault.SERVER_ERROR: lambda now: Refused(500, "internal.server.error"),
    Fault.ERROR_WITHOUT_CODE: lambda now: Refused(400, None),
    Fault.IP_NOT_AUTHORIZED: lambda now: Refused(401, "ip.not.authorized"),
    Fault.VANISHED: lambda now: Refused(404, "general.resource.not.found"),
}


def gateway_error(status: int, settings: Settings, correlation_id: str) -> Reply:
    """502 or 504 as the load balancer sends it."""
    title = {502: "502 Bad Gateway", 504: "504 Gateway Time-out"}[status]
    if settings.gateway_body is GatewayBody.HTML:
        return Reply(status, (("Content-Type", "text/html"),), _HTML.format(title).encode())
    body = {"message": title, "status": status, "contextId": correlation_id, "details": [], "errors": []}
    return Reply(status, JSON, json.dumps(body).encode())


def after(fault: Fault | None, reply: Reply, settings: Settings, correlation_id: str) -> Reply:
    """Let a fault strike the answer of a call that was handled."""
    match fault:
        case Fault.GATEWAY_TIMEOUT:
            return gateway_error(504, settings, correlation_id)
        case Fault.RESET_AFTER:
            return Reply(reply.status, fate=Fate.RESET)
        case Fault.LOST_ANSWER:
            return Reply(reply.status, fate=Fate.HANG, delay=settings.hang_seconds)
        case Fault.SLOW:
            return Reply(reply.status, reply.headers, reply.body, delay=settings.slow_seconds)
        case Fault.EMPTY_SUCCESS if 200 <= reply.status < 300:
            return Reply(200)
        case _:
            return reply
