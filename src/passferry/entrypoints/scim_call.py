"""One request of a SCIM client: who asks for what of which org, and what the target said of it."""

import asyncio
import base64
import binascii
import contextlib
import re
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from passferry.access import may_provision
from passferry.domain.answers import Answer as TargetAnswer
from passferry.domain.change import is_uuid
from passferry.domain.outcome import Outcome
from passferry.domain.scim import NotScim, bare_version
from passferry.domain.scim_query import Query
from passferry.domain.scim_show import Shown, resource
from passferry.domain.scim_split import BadScim
from passferry.entrypoints import scim_answers, scim_pass
from passferry.entrypoints.http_callers import Accepting
from passferry.entrypoints.http_guard import Exchange
from passferry.entrypoints.http_parse import LONGEST_REFERENCE, Problem, bearer
from passferry.entrypoints.scim_answers import Refused, failed
from passferry.ports import Clock, Provider
from passferry.store_ports import Caller, PassStore

MOST_BYTES = 256 * 1024
"""Of a request body: a user with fifty skills is far below."""
READ_SECONDS = scim_pass.READ_SECONDS
ONLY_PASSWORDS = "this org takes passwords only: those of existing users, by PUT or PATCH"

_HOST = re.compile(r"[A-Za-z0-9.:\[\]-]{1,255}")


@dataclass(frozen=True, slots=True)
class ScimParts:
    """What inbound SCIM stands on; see ``HttpParts``."""

    accept: Accepting
    access: Callable[[str], Awaitable[Caller | None]]
    orgs: Collection[str]
    providers: Callable[[str], Provider]
    passes: PassStore
    proxies: Collection[str]
    paused: Callable[[str], str | None]
    clock: Clock
    fatal: Callable[[str], None]
    uuid_ids: Mapping[str, bool] = field(default_factory=dict)
    max_wait: float = 15.0
    body_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Call:
    """A request whose caller is known."""

    parts: ScimParts
    exchange: Exchange
    caller: Caller
    org: str
    base: str  # the address above /Users, as the caller sees it
    kind: str
    id: str | None

    @property
    def place(self) -> str:
        """The address of the collection."""
        return f"{self.base}/{self.kind}"

    @property
    def method(self) -> str:
        """Of the request; HEAD is GET without its body."""
        method: str = self.exchange.scope["method"]
        return "GET" if method == "HEAD" else method

    @property
    def query(self) -> bytes:
        """What stands behind the `?`."""
        raw: bytes = self.exchange.scope["query_string"]
        return raw

    @property
    def provider(self) -> scim_pass.Passing:
        """The org's target, for what this caller asks and passes on; in bulk, if its changes are."""
        parts = self.parts
        provider = parts.providers(self.org)
        return scim_pass.Passing(
            provider.giving_way if self.caller.rules.bulk else provider,
            parts.accept,
            parts.passes,
            parts.clock,
            self.caller,
            self.org,
            self.foreign,
        )

    @property
    def proxied(self) -> bool:
        """Whether everything but passwords is passed on for this source; else it is ignored or refused."""
        return self.org in self.parts.proxies and may_provision(self.caller, self.org)

    def may_write(self) -> None:
        """Raise ``Refused`` or ``NotAccepted`` unless a request to change something may be passed on now."""
        if not self.proxied:
            raise Refused(failed(501, ONLY_PASSWORDS))
        if self.parts.paused(self.org) is not None:
            raise Refused(failed(503, "this org is paused [org.paused]", None, ((b"retry-after", b"60"),)))
        self.parts.accept.admit(self.caller, self.org)

    async def may_touch(self, user_id: str) -> None:
        """Raise ``NotAccepted`` when the user is one that the source may not touch, ``Refused`` when unknown.

        Looked up before anything is passed on: under a new name nobody would know the user any more.
        """
        if not self.parts.accept.never(self.caller, self.org):
            return
        answer: TargetAnswer | Outcome | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(READ_SECONDS):
                answer = await self.provider.one(self.kind, user_id, Query(), fresh=True)
        if answer is None:
            raise Refused(failed(503, "the target does not answer", None, ((b"retry-after", b"5"),)))
        shown = self.shown(answer)
        if not shown.user_name:
            raise Refused(failed(502, "the target does not tell the user's name [target.answer.unusable]"))
        self.parts.accept.spare(self.caller, self.org, user_id, shown.id, shown.user_name)

    def versions(self, name: bytes) -> Sequence[str] | None:
        """The versions of If-Match or If-None-Match, without quotes; None without the header, or for `*`."""
        values = b",".join(self.exchange.header(name)).decode("latin-1")
        tags = [tag.strip() for tag in values.split(",") if tag.strip()]
        return None if not tags or tags == ["*"] else [bare_version(tag) or "" for tag in tags]

    def if_match(self) -> str | None:
        """The entity tag of If-Match, to be passed on. Raises ``BadScim`` when there are several."""
        versions = self.versions(b"if-match")
        if versions is None:
            return None
        if len(versions) != 1 or not versions[0]:
            raise BadScim("invalidVers", "If-Match must be one entity tag")
        return self.exchange.header(b"if-match")[0].decode("latin-1").strip()

    @property
    def foreign(self) -> bool:
        """Whether the target is another provider than Genesys Cloud: it knows best what it has."""
        return not self.parts.uuid_ids.get(self.org, True)

    def resource_id(self) -> str:
        """The id in the path. One that the target cannot have is not asked for: ``Refused``."""
        found = self.id or ""
        unusable = not 1 <= len(found) <= LONGEST_REFERENCE or not found.isprintable() or not found.strip(".")
        if unusable or (self.kind == "Users" and not self.foreign and not is_uuid(found)):
            raise Refused(failed(404, "there is no such resource"))
        return found

    async def text(self) -> str:
        """The body. Clients name its type in many ways, so that is not looked at."""
        if self.exchange.header(b"content-encoding") not in ([], [b"identity"]):
            raise Problem(415, "content.type.unsupported", "the body must not be compressed")
        body = await self.exchange.body(self.parts.body_seconds, MOST_BYTES)
        text: str | None = None
        with contextlib.suppress(UnicodeDecodeError):
            text = body.decode("utf-8-sig")
        if text is None:
            raise BadScim("invalidSyntax", "the body is not UTF-8")
        return text

    def shown(self, answer: TargetAnswer | Outcome, *, wrote: bool = False) -> Shown:
        """The resource that the target answered with. Raises ``Refused``.

        ``wrote``: it was asked for a change, and says what is wrong with it.
        """
        if isinstance(answer, Outcome):
            raise Refused(scim_answers.of_outcome(answer))
        if not 200 <= answer.status < 300:
            raise Refused(scim_answers.of_target(answer, names=self.id is None, wrote=wrote))
        found: Shown | None = None
        with contextlib.suppress(NotScim):  # told below, with nothing of it
            found = resource(answer.text(), self.place, answer.headers.get("etag"))
        if found is None or (self.id is not None and found.id.casefold() != self.id.casefold()):
            raise Refused(failed(502, "the target's answer cannot be understood [target.answer.unusable]"))
        return found


def access_key(values: Sequence[bytes]) -> str | None:
    """The access key: as Bearer, as the password of Basic, or alone, as clients send a fixed header."""
    found = bearer(values)
    if found is not None or len(values) != 1:
        return found
    scheme, _, rest = values[0].decode("latin-1").strip().partition(" ")
    if not rest:
        return scheme if scheme.startswith("pf_") else None
    if scheme.lower() != "basic":
        return None
    try:
        return base64.b64decode(rest.strip(), validate=True).decode("latin-1").partition(":")[2]
    except (ValueError, binascii.Error):
        return None


def address(exchange: Exchange, prefix: str) -> str:
    """Where the caller reached us; without a scheme and host when they cannot be told."""
    path = prefix.replace("{org}", exchange.scope["path_params"].get("org", ""))
    hosts = exchange.header(b"host")
    host = hosts[0].decode("latin-1") if len(hosts) == 1 else ""
    said = exchange.header(b"x-forwarded-proto")
    scheme = "https" if exchange.scope.get("scheme") == "https" or said == [b"https"] else "http"
    return f"{scheme}://{host}{path}" if _HOST.fullmatch(host) else path
