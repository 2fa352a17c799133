"""Inbound SCIM 2.0 (docs/sources/scim.md): for identity providers that push passwords with their users.

In the mode `passwords` a user's password is all that is taken. In the mode `proxy` everything else is passed
on to the org's target. In both, a password is taken out first, and goes the way of any other change.
"""

from collections.abc import Awaitable, Callable

from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from passferry.accept import Request
from passferry.domain.answers import Answer as TargetAnswer
from passferry.domain.change import Reference
from passferry.domain.outcome import Outcome
from passferry.domain.scim import NotScim
from passferry.domain.scim_query import Equals, Query, query
from passferry.domain.scim_show import Shown, listed, resource
from passferry.domain.scim_split import BadScim, split_user
from passferry.domain.source_rules import speaks_scim
from passferry.entrypoints import http_answers, http_callers, scim_answers, scim_discovery
from passferry.entrypoints.http_answers import Answer, Headers
from passferry.entrypoints.http_guard import Exchange
from passferry.entrypoints.http_parse import Problem
from passferry.entrypoints.scim_answers import MEDIA, Refused, failed
from passferry.entrypoints.scim_call import ONLY_PASSWORDS, Call, ScimParts, access_key, address
from passferry.entrypoints.scim_write import check, write
from passferry.ports import Found
from passferry.refusals import NotAccepted, no_room, store_lost
from passferry.store_ports import StoreFull, StoreLost

PREFIXES = ("/scim/v2", "/orgs/{org}/scim/v2")


def routes(parts: ScimParts) -> list[Route]:
    """The routes: everything below both prefixes, so that every error there is one of SCIM's."""
    return [Route(prefix + "/{rest:path}", _Endpoint(prefix, parts)) for prefix in PREFIXES]


class _Endpoint:
    """Everything below one prefix, as an ASGI application."""

    def __init__(self, prefix: str, parts: ScimParts) -> None:
        self._prefix, self._parts = prefix, parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange: Exchange = scope["passferry"]
        exchange.route = self._prefix
        lost: str | None = None
        try:
            answer = await self._answer(exchange)
        except Refused as refused:
            answer = refused.answer
        except BadScim as bad:
            answer = scim_answers.of_bad(bad)
        except Problem as problem:
            answer = scim_answers.of_problem(problem)
        except NotAccepted as refusal:
            answer = scim_answers.of_refusal(refusal)
        except NotScim:  # nested so deeply that it could be read once, and not once more
            answer = failed(400, "the body cannot be understood", "invalidSyntax")
        except StoreFull as full:
            answer = scim_answers.of_refusal(no_room(full))
        except StoreLost as error:
            answer, lost = scim_answers.of_refusal(store_lost()), str(error)
        await http_answers.send_answer(answer, scope, send)
        if lost is not None:
            self._parts.fatal(lost)

    async def _answer(self, exchange: Exchange) -> Answer:
        key = access_key(exchange.header(b"authorization"))
        caller = await http_callers.caller(exchange, key, self._parts.access, ("source",))
        if not speaks_scim(caller.rules, caller.user_template):
            raise Problem(403, "scim.forbidden", "this source may not use SCIM: see scim of a source")
        named = exchange.scope["path_params"].get("org")
        org = http_callers.org(caller, named, self._parts.orgs)
        exchange.org = org
        kind, resource_id = _what(exchange.scope["path_params"]["rest"])
        exchange.resource = resource_id
        base = address(exchange, self._prefix)
        call = Call(self._parts, exchange, caller, org, base, kind, resource_id)
        path = f"/{kind}" if resource_id is None else f"/{kind}/{{id}}"
        exchange.route = self._prefix + path
        handler = OPERATIONS.get((call.method, path))
        return await handler(call) if handler is not None else _no_such_method(path)


def _what(rest: str) -> tuple[str, str | None]:
    """The kind of resource, and the id, that a path names."""
    parts = rest.removesuffix("/").split("/")
    if parts[-1] == ".search" or parts[0].casefold() in ("bulk", "me"):
        raise Refused(failed(501, "searching by POST, /Bulk and /Me are not offered"))
    kind = _KINDS.get(parts[0].casefold())
    if kind is None or len(parts) > 2:
        raise Refused(failed(404, "there is no such resource"))
    return kind, parts[1] if len(parts) == 2 else None


def _no_such_method(path: str) -> Answer:
    known = sorted(method for method, each in OPERATIONS if each == path)
    if not known:
        return failed(404, "there is no such resource")
    headers = ((b"allow", ", ".join(known).encode()),)
    return failed(405, "the path has other methods: see Allow", None, headers)


# --- discovery and reading -------------------------------------------------------------------


async def _discovery(call: Call) -> Answer:
    if call.proxied and call.foreign and call.kind != "ServiceProviderConfig":
        return await (_search(call) if call.id is None else _read(call))
    text = scim_discovery.document(call.kind, call.id, call.base, call.provider.page)
    return failed(404, "there is no such resource") if text is None else Answer(200, text, media=MEDIA)


async def _search(call: Call) -> Answer:
    asked = query(call.query)
    if call.kind == "Groups" and not call.proxied:  # nobody needs them for passwords; reading needs rights
        return _page(call, asked, Found(0, ()))
    if isinstance(asked.filter, str) and not call.foreign:  # nobody could tell whether it was honoured
        raise BadScim("invalidFilter", "a filter is one comparison here: attribute eq value")
    call.parts.accept.admit_look(call.caller, call.org)
    return _page(call, asked, await call.provider.search(call.kind, asked))


def _page(call: Call, asked: Query, found: Found | TargetAnswer | Outcome) -> Answer:
    if isinstance(found, Outcome):
        return scim_answers.of_outcome(found)
    if isinstance(found, TargetAnswer):
        return scim_answers.of_target(found)
    items = [shown for item in found.items if (shown := _shown(item, call.place)) is not None]
    return Answer(200, listed(items, found.total, asked.start).encode(), media=MEDIA)


def _shown(item: str, place: str) -> str | None:
    """A resource of a list; None for one that cannot be understood, which hides none of the others."""
    try:
        return resource(item, place).text
    except NotScim:
        return None


async def _read(call: Call) -> Answer:
    if call.kind == "Groups" and not call.proxied:
        return failed(404, "there is no such group")
    call.parts.accept.admit_look(call.caller, call.org)
    shown = call.shown(await call.provider.one(call.kind, call.resource_id(), query(call.query)))
    made, known = scim_answers.of_resource(shown), call.versions(b"if-none-match")
    if known is not None and shown.version is not None and shown.version in known:
        return Answer(304, b"", made.headers, MEDIA)
    return made


# --- creating, deleting, and groups ----------------------------------------------------------


async def _create(call: Call) -> Answer:
    """Create a user at the target.

    Its password is dropped, since providers send random ones then; unless the source is expected to.
    """
    split = split_user(await call.text())
    if not split.user_name or split.rest is None:
        raise BadScim("invalidValue", "userName is missing")
    if not call.proxied:
        call.parts.accept.admit_look(call.caller, call.org)
        found = await call.provider.search(call.kind, Query(Equals("userName", split.user_name)))
        if isinstance(found, Found) and found.items:
            return failed(409, f"the user exists; {ONLY_PASSWORDS}", "uniqueness")
        return failed(501, f"users are not created here; {ONLY_PASSWORDS}")
    call.may_write()
    call.parts.accept.spare(call.caller, call.org, split.user_name)
    generated = split.password if call.caller.rules.generated else None
    if generated is not None:
        await call.parts.accept.admit_change(call.caller, call.org)
        check(call, generated, split.user_name)
    answer = await call.provider.send("POST", call.kind, None, split.rest)
    try:
        shown = call.shown(answer, wrote=True)
    except Refused as refused:
        return scim_answers.withheld(refused.answer, split.password)
    if generated is None:
        return _made(call, shown)
    name = shown.user_name or split.user_name
    user = Reference("id", shown.id)
    request = Request(org=call.org, user=user, password=generated, user_name=name, admitted=True)
    try:
        change = await http_callers.taken(call.exchange, call.caller, request, call.parts.accept, 0.0)
    except NotAccepted as refusal:  # the user is there all the same, which an error would deny
        return _made(call, shown, scim_answers.of_no_change(refusal))
    except StoreFull as full:
        return _made(call, shown, scim_answers.of_no_change(no_room(full)))
    return _made(call, shown, scim_answers.of_change(change))


def _made(call: Call, shown: Shown, more: Headers = ()) -> Answer:
    place = f"{call.place}/{shown.id}".encode("latin-1", "replace")
    return scim_answers.of_resource(shown, 201, ((b"location", place), *more))


async def _create_group(call: Call) -> Answer:
    call.may_write()
    answer = await call.provider.send("POST", call.kind, None, await call.text())
    return _made(call, call.shown(answer, wrote=True))


async def _delete(call: Call) -> Answer:
    call.may_write()
    if call.kind == "Users":
        await call.may_touch(call.resource_id())
    answer = await call.provider.send("DELETE", call.kind, call.resource_id(), None, call.if_match())
    if isinstance(answer, Outcome):
        return scim_answers.of_outcome(answer)
    if not 200 <= answer.status < 300:
        return scim_answers.of_target(answer, wrote=True)
    return Answer(204, b"", media=MEDIA)


async def _write_group(call: Call) -> Answer:
    call.may_write()
    text = await call.text()
    answer = await call.provider.send(call.method, call.kind, call.resource_id(), text, call.if_match())
    if isinstance(answer, TargetAnswer) and answer.status == 204:
        return Answer(204, b"", media=MEDIA)
    return scim_answers.of_resource(call.shown(answer, wrote=True))


OPERATIONS: dict[tuple[str, str], Callable[[Call], Awaitable[Answer]]] = {
    ("GET", "/ServiceProviderConfig"): _discovery,
    ("GET", "/ResourceTypes"): _discovery,
    ("GET", "/ResourceTypes/{id}"): _discovery,
    ("GET", "/Schemas"): _discovery,
    ("GET", "/Schemas/{id}"): _discovery,
    ("GET", "/Users"): _search,
    ("POST", "/Users"): _create,
    ("GET", "/Users/{id}"): _read,
    ("PUT", "/Users/{id}"): write,
    ("PATCH", "/Users/{id}"): write,
    ("DELETE", "/Users/{id}"): _delete,
    ("GET", "/Groups"): _search,
    ("POST", "/Groups"): _create_group,
    ("GET", "/Groups/{id}"): _read,
    ("PUT", "/Groups/{id}"): _write_group,
    ("PATCH", "/Groups/{id}"): _write_group,
    ("DELETE", "/Groups/{id}"): _delete,
}
"""Every method and path below a prefix."""
_KINDS: dict[str, str] = {path.split("/")[1].casefold(): path.split("/")[1] for _, path in OPERATIONS}
