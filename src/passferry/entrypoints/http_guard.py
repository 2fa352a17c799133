"""What every request goes through: may it be answered here, one log line, and no exception that gets out.

An exception may hold a request's body in its frames and context. So none passes this line: the log gets its
type and place, the caller a 500 that repeats nothing.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from passferry.domain.audit import safe_id
from passferry.entrypoints import http_answers
from passferry.entrypoints.http_door import Door
from passferry.entrypoints.http_front import Front
from passferry.entrypoints.http_parse import Problem
from passferry.refusals import shutting_down
from passferry.store_ports import Caller

MOST_BYTES = 16 * 1024
"""Of a request body, unless a route takes more; reading stops there."""

CLOSE = (b"connection", b"close")
_QUIET = frozenset({"/healthz", "/metrics", "/readyz"})
_log = structlog.get_logger("passferry.http")


class Gone(Exception):
    """The caller went away while its request was being read; there is nobody to answer."""


class Exchange:
    """One request: its headers, its body on demand, and what the log line says of it in the end."""

    __slots__ = (
        "_headers",
        "_receive",
        "caller",
        "change_id",
        "org",
        "resource",
        "route",
        "scope",
        "status",
    )

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.scope, self._receive = scope, receive
        self._headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            self._headers.setdefault(name, []).append(value)
        self.route = "none"
        self.caller: Caller | None = None
        self.change_id: str | None = None
        self.org: str | None = None
        self.resource: str | None = None
        self.status = 0

    def header(self, name: bytes) -> list[bytes]:
        """All values of a header, ``name`` in lower case."""
        return self._headers.get(name, [])

    async def body(self, seconds: float, most: int = MOST_BYTES) -> bytes:
        """The body, at most ``most`` bytes, read within ``seconds``.

        Raises ``Gone`` and ``Problem``: `body.too.large` (as soon as that is known), `body.too.slow`.
        """
        stated = self.header(b"content-length")
        if stated and (not stated[0].isdigit() or int(stated[0][:20]) > most):
            raise _too_large(most)
        body: bytes | None = None
        try:
            async with asyncio.timeout(seconds):
                body = await self._read(most)
        except TimeoutError:
            pass
        if body is None:
            raise Problem(408, "body.too.slow", "the body did not come in time", (CLOSE,))
        return body

    async def _read(self, most: int) -> bytes:
        body = b""
        while True:
            message = await self._receive()
            if message["type"] != "http.request":
                raise Gone
            part: bytes = message.get("body", b"")
            body += part
            if len(body) > most:
                raise _too_large(most)
            if not message.get("more_body", False):
                return body


def _too_large(most: int) -> Problem:
    return Problem(413, "body.too.large", f"the body is larger than {most} bytes", (CLOSE,))


class Guard:
    """The outermost layer.

    Args:
        app: what answers.
        monotonic: seconds from an arbitrary start, for the log.
        front: knows who may speak plain HTTP.
        door: is closed while the process ends.
        answered: told of each answer: the template of its route (``none``: it reached none), its status.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        monotonic: Callable[[], float],
        front: Front,
        door: Door,
        answered: Callable[[str, int], None],
    ) -> None:
        self._app, self._monotonic, self._front, self._door = app, monotonic, front, door
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection event, as ASGI has it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1000})  # there are none; before the handshake: 403

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = self._monotonic()
        exchange = scope["passferry"] = Exchange(scope, receive)

        async def note_and_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                exchange.status = message["status"]
                if self._door.closed and CLOSE not in message["headers"]:
                    message["headers"] = [*message["headers"], CLOSE]
            await send(message)

        failure: tuple[str, str] | None = None
        try:
            if self._door.closed:
                await http_answers.send_answer(http_answers.of_refusal(shutting_down()), scope, note_and_send)
            elif (refusal := self._front.refusal(exchange)) is not None:
                await http_answers.send_answer(http_answers.of_problem(refusal), scope, note_and_send)
            else:
                with self._door.entered():
                    await self._app(scope, receive, note_and_send)
        except Gone:
            exchange.status = 499
        except Exception as error:  # noqa: BLE001  # see the module
            failure = type(error).__name__, _place(error.__traceback__)
        if failure is not None:
            _log.error("request failed", error=failure[0], at=failure[1], route=exchange.route)
            await self._fail(exchange, scope, note_and_send)
        self._answered(exchange.route, exchange.status)
        self._line(exchange, scope["method"], started)

    async def _fail(self, exchange: Exchange, scope: Scope, send: Send) -> None:
        if exchange.status:
            return  # half an answer is out: the server cuts the connection
        problem = Problem(
            500, "internal.error", "a defect of the gateway; not known to be accepted: send it again"
        )
        await http_answers.send_answer(http_answers.of_problem(problem), scope, send)

    def _line(self, exchange: Exchange, method: str, started: float) -> None:
        write = _log.debug if exchange.route in _QUIET and exchange.status < 400 else _log.info
        write(
            "request",
            method=method if method.isalpha() and len(method) < 16 else "?",
            route=exchange.route,
            status=exchange.status,
            org=exchange.org,
            resource=safe_id(exchange.resource),
            change=safe_id(exchange.change_id),
            caller=exchange.caller.name if exchange.caller is not None else None,
            client=self._front.client(exchange),
            ms=round((self._monotonic() - started) * 1000, 1),
        )


def _place(trace: TracebackType | None) -> str:
    """File and line where an exception was raised; never what was there."""
    place = ""
    while trace is not None:
        place = f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place
