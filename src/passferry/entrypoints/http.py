"""The gateway's HTTP routes (docs/http-api.md): prove who calls, parse, hand over, answer."""

import heapq
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request as StarletteRequest
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from passferry.accept import Request
from passferry.domain.audit import safe_id
from passferry.domain.change import RETRYABLE, Change, as_seen
from passferry.entrypoints import http_answers as answers
from passferry.entrypoints import http_callers, openapi, scim
from passferry.entrypoints import http_parse as parse
from passferry.entrypoints.change_view import hand_over_key, view
from passferry.entrypoints.http_answers import Answer
from passferry.entrypoints.http_callers import Accepting
from passferry.entrypoints.http_door import Door
from passferry.entrypoints.http_front import Front
from passferry.entrypoints.http_guard import Exchange, Guard
from passferry.entrypoints.http_parse import Problem
from passferry.entrypoints.scim_call import ScimParts
from passferry.ports import Clock, HandOver, Pace, Provider, SealBroken, UnknownKey
from passferry.refusals import NotAccepted, no_room, store_lost
from passferry.store_ports import Caller, LookupStore, NotNow, PassStore, StoreFull, StoreLost

_PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"
Handle = Callable[[Exchange], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class HttpParts:
    """What the routes stand on. Times are seconds."""

    accept: Accepting
    lookup: LookupStore
    passes: PassStore
    access: Callable[[str], Awaitable[Caller | None]]  # the text of a key to its holder
    orgs: Collection[str]
    clock: Clock
    ready: Callable[[], Sequence[str]]  # what is missing; empty when ready
    set_paused: Callable[[str, bool, str], Awaitable[None]]  # org, whether, by whom
    metrics: Callable[[Collection[str]], Awaitable[bytes]]  # orgs (none: all) to text
    pace: Callable[[str], Awaitable[Pace]]
    fatal: Callable[[str], None]  # told why the process must end
    answered: Callable[[str, int], None] = lambda route, status: None  # told of each answer, for the figures
    paused: Callable[[str], str | None] = lambda org: None  # why an org is paused, if it is
    uuid_ids: Mapping[str, bool] = field(default_factory=dict)  # whether an org's user ids are UUIDs
    hand_over: HandOver | None = None
    max_wait: float = 15.0
    body_seconds: float = 10.0  # for a request body to arrive
    front: Front = field(default_factory=Front)
    door: Door = field(default_factory=Door)
    providers: Callable[[str], Provider] | None = None  # of an org; None: there is no inbound SCIM
    proxies: Collection[str] = ()  # orgs in the mode `proxy` of inbound SCIM


def app(parts: HttpParts, *, only_watched: bool = False) -> Starlette:
    """The gateway as an ASGI application. It opens and starts nothing.

    ``only_watched``: it answers nobody but who watches the process.
    """
    gateway = _Gateway(parts)

    def route(method: str, path: str, handle: Handle) -> Route:
        return Route(path, _Endpoint(path, handle, parts.fatal), methods=[method])

    watched = [
        route("GET", "/metrics", gateway.metrics),
        route("GET", "/healthz", gateway.health),
        route("GET", "/readyz", gateway.readiness),
    ]
    routes = [  # they are tried in order
        route("POST", "/sync/password", gateway.sync),
        route("POST", "/orgs/{org}/sync/password", gateway.sync),
        *watched,
        route("GET", "/sync/key", gateway.hand_over_key),
        route("POST", "/sync/sealed", gateway.sealed),
        route("POST", "/orgs/{org}/sync/sealed", gateway.sealed),
        route("GET", "/changes/{id}", gateway.show),
        route("GET", "/changes", gateway.list),
        route("POST", "/changes/{id}/retry", gateway.retry),
        route("POST", "/changes/{id}/cancel", gateway.cancel),
        route("POST", "/orgs/{org}/pause", gateway.pause),
        route("POST", "/orgs/{org}/resume", gateway.resume),
        route("POST", "/policy/check", gateway.check),
        route("POST", "/orgs/{org}/policy/check", gateway.check),
        route("GET", "/pace", gateway.pace),
        route("GET", "/orgs/{org}/pace", gateway.pace),
        route("GET", "/openapi.json", gateway.openapi),
        *(scim.routes(_scim(parts, parts.providers)) if parts.providers is not None else ()),
    ]
    guard = Middleware(
        Guard,
        monotonic=parts.clock.monotonic,
        front=parts.front,
        door=parts.door,
        answered=parts.answered,
    )
    made = Starlette(
        routes=watched if only_watched else routes,
        middleware=[guard],
        exception_handlers={HTTPException: _no_such_path_or_method},
    )
    made.router.redirect_slashes = False  # a redirected POST would carry a password once more
    return made


def _scim(parts: HttpParts, providers: Callable[[str], Provider]) -> ScimParts:
    return ScimParts(
        accept=parts.accept,
        access=parts.access,
        orgs=parts.orgs,
        providers=providers,
        passes=parts.passes,
        proxies=parts.proxies,
        paused=parts.paused,
        uuid_ids=parts.uuid_ids,
        clock=parts.clock,
        fatal=parts.fatal,
        max_wait=parts.max_wait,
        body_seconds=parts.body_seconds,
    )


class _Endpoint:
    """Turns a function from ``Exchange`` to ``Answer`` into an ASGI application."""

    def __init__(self, path: str, handle: Handle, fatal: Callable[[str], None]) -> None:
        self._path, self._handle, self._fatal = path, handle, fatal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope["passferry"]
        exchange.route = self._path
        lost: str | None = None
        try:
            answer = await self._handle(exchange)
        except Problem as problem:
            answer = answers.of_problem(problem)
        except NotAccepted as refusal:
            answer = answers.of_refusal(refusal)
        except StoreFull as full:
            answer = answers.of_refusal(no_room(full))
        except StoreLost as error:
            answer, lost = answers.of_refusal(store_lost()), str(error)
        await answers.send_answer(answer, scope, send)
        if lost is not None:
            self._fatal(lost)


async def _no_such_path_or_method(request: StarletteRequest, error: Exception) -> Response:
    headers: dict[str, str] = {}
    problem = Problem(404, "path.unknown", "there is no such path")
    if isinstance(error, HTTPException) and error.status_code == 405:
        problem = Problem(405, "method.not.allowed", "the path has other methods: see Allow")
        allowed = (error.headers or {}).get("Allow", "")
        headers["allow"] = ", ".join(sorted(allowed.split(", ")))
    answer = answers.of_problem(problem)
    return _AnswerResponse(answer, headers)


class _AnswerResponse(Response):
    """An ``Answer`` where Starlette wants a response."""

    def __init__(self, answer: Answer, headers: Mapping[str, str]) -> None:
        super().__init__()
        extra = tuple((name.encode(), value.encode()) for name, value in headers.items())
        self._answer = Answer(answer.status, answer.body, (*answer.headers, *extra))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await answers.send_answer(self._answer, scope, send)


class _Gateway:
    """The routes' functions."""

    def __init__(self, parts: HttpParts) -> None:
        self._parts = parts

    # --- sources -----------------------------------------------------------------------------

    async def sync(self, exchange: Exchange) -> Answer:
        """Accept a change, wait as asked, tell what became of it."""
        caller = await self._caller(exchange, "source")
        org = self._org(exchange, caller)
        asked = parse.sync_body(await self._json_body(exchange))
        key = parse.idempotency_key(exchange.header(b"idempotency-key"))
        return await self._take(exchange, caller, org, asked, key)

    async def sealed(self, exchange: Exchange) -> Answer:
        """Accept a change that its source sealed to us while we could not be reached."""
        caller = await self._caller(exchange, "source")
        letter = parse.letter(self._opened(await self._octets(exchange)))
        org = self._org(exchange, caller, letter.org)
        return await self._take(exchange, caller, org, letter.asked, letter.key)

    async def hand_over_key(self, exchange: Exchange) -> Answer:
        """The public key to which sources seal what they cannot hand over at once."""
        await self._caller(exchange, "source")
        key = self._parts.hand_over.key() if self._parts.hand_over is not None else None
        if key is None:
            raise Problem(404, "sealed.key.none", "the key ring holds no pair yet: keys rotate makes one")
        return Answer(200, {"success": True, "message": "seal to this key", **hand_over_key(key)})

    async def _take(
        self, exchange: Exchange, caller: Caller, org: str, asked: parse.Asked, key: str | None
    ) -> Answer:
        preference = parse.preference(exchange.header(b"prefer"), self._parts.max_wait)
        request = Request(
            org=org,
            user=parse.reference(asked, caller.user_template, self._parts.uuid_ids.get(org, True)),
            password=asked.password,
            changed_at=asked.changed_at,
            idempotency_key=key,
            bulk=preference.bulk,
        )
        change = await http_callers.taken(exchange, caller, request, self._parts.accept, preference.wait)
        answer = answers.of_change(change)
        applied = preference.applied(answer.status)
        if applied:
            answer = Answer(
                answer.status,
                answer.body,
                (*answer.headers, (b"preference-applied", applied.encode())),
            )
        return answer

    async def check(self, exchange: Exchange) -> Answer:
        """The policy's verdict, as a change would get it; nothing is stored or logged."""
        caller = await self._caller(exchange, "source")
        org = self._org(exchange, caller)
        asked = parse.check_body(await self._json_body(exchange))
        user = None
        if asked.user_id is not None or asked.user_name is not None:
            user = parse.reference(asked, caller.user_template, self._parts.uuid_ids.get(org, True))
        return answers.of_violations(tuple(self._parts.accept.check(caller, org, user, asked.password)))

    async def pace(self, exchange: Exchange) -> Answer:
        """How fast an org's changes are delivered, and how many wait: for whoever is about to send many."""
        caller = await self._caller(exchange, "source")
        org = self._org(exchange, caller)
        pace = await self._parts.pace(org)
        return Answer(
            200,
            {
                "success": True,
                "message": "the pace of the org",
                "org": org,
                "requestsPerMinute": pace.requests_a_minute,
                "waiting": pace.waiting,
            },
        )

    # --- changes -----------------------------------------------------------------------------

    async def show(self, exchange: Exchange) -> Answer:
        """One change: to its source, or to an operator of its org."""
        caller = await self._caller(exchange, "source", "operator")
        return _shown(self._explained(await self._change(exchange, caller)))

    async def list(self, exchange: Exchange) -> Answer:
        """Changes, newest first, a page at a time."""
        caller = await self._caller(exchange, "operator")
        asked = parse.listing(exchange.scope["query_string"])
        if asked.org is not None:
            http_callers.allow(caller, asked.org, self._parts.orgs)
        orgs: Sequence[str | None] = [asked.org] if asked.org is not None else (caller.orgs or [None])
        pages = [
            await self._parts.lookup.changes(
                org=org,
                user=asked.user,
                states=asked.states,
                since=asked.since,
                limit=asked.limit + 1,  # one more tells whether there is a next page
                before=asked.before,
            )
            for org in orgs
        ]
        newest_first = heapq.merge(*pages, key=lambda change: (change.accepted_at, change.id), reverse=True)
        found = list(islice(newest_first, asked.limit + 1))
        shown, more = found[: asked.limit], len(found) > asked.limit
        return Answer(
            200,
            {
                "success": True,
                "message": "changes, newest first",
                "changes": [view(self._explained(change)) for change in shown],
                "next": parse.cursor(shown[-1].accepted_at, shown[-1].id) if more else None,
            },
        )

    async def retry(self, exchange: Exchange) -> Answer:
        """Try a pending or parked change again at once."""
        return await self._operate(exchange, "retry")

    async def cancel(self, exchange: Exchange) -> Answer:
        """End a pending or parked change."""
        return await self._operate(exchange, "cancel")

    async def _operate(self, exchange: Exchange, act: str) -> Answer:
        caller = await self._caller(exchange, "operator")
        change = await self._change(exchange, caller)
        now, actor = self._parts.clock.now(), f"operator:{caller.name}"
        done: Change | None = None
        allowed = True
        try:
            done = await self._parts.lookup.operate(change.id, act, actor, now)
        except NotNow:
            allowed = False
        if not allowed:
            states = " or ".join(sorted(RETRYABLE))
            raise Problem(409, "change.state", f"only a {states} change can be retried or cancelled")
        if done is None:
            raise _unknown_change()
        return _shown(done)

    # --- orgs --------------------------------------------------------------------------------

    async def pause(self, exchange: Exchange) -> Answer:
        """Stop deliveries of an org; changes are still accepted."""
        return await self._pause(exchange, True)

    async def resume(self, exchange: Exchange) -> Answer:
        """Deliver again."""
        return await self._pause(exchange, False)

    async def _pause(self, exchange: Exchange, paused: bool) -> Answer:
        caller = await self._caller(exchange, "operator")
        org = self._org(exchange, caller)
        await self._parts.set_paused(org, paused, f"operator:{caller.name}")
        message = "org paused" if paused else "org resumed"
        return Answer(200, {"success": True, "message": message, "org": org, "paused": paused})

    # --- the process -------------------------------------------------------------------------

    async def metrics(self, exchange: Exchange) -> Answer:
        """Figures in the text format of Prometheus, of the orgs that the key may use."""
        caller = await self._caller(exchange, "metrics", "operator")
        return Answer(200, await self._parts.metrics(caller.orgs), media=_PROMETHEUS)

    async def openapi(self, exchange: Exchange) -> Answer:
        """What the routes take and answer, for programs; to holders of any key."""
        await self._caller(exchange, *openapi.ROLES)
        return Answer(200, openapi.text())

    async def health(self, exchange: Exchange) -> Answer:
        """The process answers."""
        return Answer(200, {"success": True, "message": "alive"})

    async def readiness(self, exchange: Exchange) -> Answer:
        """Whether changes can be accepted and delivered; what is missing is told to holders of a key."""
        missing = self._parts.ready()
        if not missing:
            return Answer(200, {"success": True, "message": "ready"})
        body: dict[str, Any] = {"success": False, "message": "not ready", "code": "not.ready"}
        key = parse.bearer(exchange.header(b"authorization"))
        exchange.caller = await self._parts.access(key) if key is not None else None
        if exchange.caller is not None:
            body["errors"] = [{"code": "not.ready", "message": reason} for reason in missing]
        return Answer(503, body, ((b"retry-after", b"5"),))

    # --- who, where, what --------------------------------------------------------------------

    async def _caller(self, exchange: Exchange, *roles: str) -> Caller:
        key = parse.bearer(exchange.header(b"authorization"))
        return await http_callers.caller(exchange, key, self._parts.access, roles)

    def _org(self, exchange: Exchange, caller: Caller, sealed: str | None = None) -> str:
        """``sealed``: the org that a letter names. See ``http_callers.org``."""
        named: str | None = exchange.scope["path_params"].get("org", sealed)
        if sealed not in (None, named):
            raise Problem(400, "sealed.broken", "it was sealed for another org")
        exchange.org = http_callers.org(caller, named, self._parts.orgs)
        return exchange.org

    async def _json_body(self, exchange: Exchange) -> bytes:
        encoded = exchange.header(b"content-encoding")
        if not parse.is_json(exchange.header(b"content-type")) or encoded not in ([], [b"identity"]):
            raise Problem(
                415, "content.type.unsupported", "the body must be application/json, not compressed"
            )
        return await exchange.body(self._parts.body_seconds)

    async def _octets(self, exchange: Exchange) -> bytes:
        if exchange.header(b"content-type") != [b"application/octet-stream"]:
            raise Problem(415, "content.type.unsupported", "the body must be application/octet-stream")
        return await exchange.body(self._parts.body_seconds)

    def _opened(self, sealed: bytes) -> bytes:
        """What a source sealed to us. Keys that are not here and letters that were altered look different."""
        problem = Problem(
            400, "sealed.key.unknown", "it is sealed to a key that this gateway does not have, or no more"
        )
        try:
            if self._parts.hand_over is not None:
                return self._parts.hand_over.open(sealed)
        except UnknownKey:
            pass
        except SealBroken:
            problem = Problem(
                400, "sealed.broken", "it was altered, or is nothing that was sealed to this gateway"
            )
        raise problem

    def _explained(self, change: Change) -> Change:
        return as_seen(change, self._parts.paused(change.org))

    async def _change(self, exchange: Exchange, caller: Caller) -> Change:
        change_id = safe_id(exchange.scope["path_params"]["id"])
        change = await self._parts.lookup.change(change_id) if change_id is not None else None
        allowed = (
            change is not None
            and caller.may_use(change.org)
            and (caller.role == "operator" or change.source == caller.name)
        )
        if change is None or not allowed:
            raise _unknown_change()
        exchange.change_id = change.id
        return change


def _unknown_change() -> Problem:
    return Problem(404, "change.unknown", "there is no such change")


def _shown(change: Change) -> Answer:
    return Answer(200, {"success": True, "message": "the change as it is now", **view(change)})
