"""The engine: one request in, one reply out, no socket, no sleep, its clock and its seed passed in."""

from __future__ import annotations

import heapq
import itertools
import random
import re
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from email.utils import formatdate

from passferry.simulator import discovery, misbehaviour, native, oauth, scim, seeding
from passferry.simulator.errors import Refused, too_many
from passferry.simulator.faults import Fault, Planned, choose
from passferry.simulator.journal import Entry, Journal
from passferry.simulator.oauth import Client, TokenBook
from passferry.simulator.ratelimit import Count, Window
from passferry.simulator.settings import Accepted, RateHeaders, RatePer, Settings
from passferry.simulator.wire import Fate, Reply, Request
from passferry.simulator.world import Call, World, answer

DEFAULT_CLIENT = Client("simulator", "simulator-secret")
_SCIM_ROOT = re.compile(r"/api/v2/scim(?:/v2)?(?:/|$)")


class Engine:
    """Login host and API host in one, told apart by path. `Simulator` adds what tests and people look at.

    Args:
        settings: switches and faults; the default misbehaves mildly. `Settings.calm()` has no faults.
        clock: the time in epoch seconds; everything that depends on time asks it.
        seed: the same seed gives the same users, ids and faults.
        users: how many made-up users.
        clients: OAuth clients. Each one's `org` names its organization.
        journal_size: how many requests are remembered.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        clock: Callable[[], float] = time.time,
        seed: int = 1,
        users: int = 300,
        clients: Iterable[Client] = (DEFAULT_CLIENT,),
        journal_size: int = 1000,
    ) -> None:
        self._clock = clock
        self._seed, self._users = seed, users
        self._clients = {client.id: client for client in clients}
        self._luck, self._ids = random.Random(), random.Random()
        self._planned: list[Planned] = []
        self._late: list[tuple[float, int, Call]] = []
        self._order = itertools.count()
        self._date = (0, "")
        self.log = Journal(deque(maxlen=journal_size))
        self._world = World(
            settings=settings if settings is not None else Settings(),
            book=TokenBook(self._clients, random.Random(f"{seed}/tokens")),
            directories={},
            random=self._ids,
            base_url="https://api.mypurecloud.com",
        )
        self.forget()

    # --- the wire -----------------------------------------------------------------------------------

    def handle(self, request: Request) -> Reply:
        """Answer one request, of the token endpoint, the API or the control pages."""
        now = self._clock()
        self._settle(now)
        if request.path == "/simulator" or request.path.startswith("/simulator/"):
            return self._dressed(self._control(request), now)
        fault = self._pick(request)
        correlation_id = self._new_id()
        reply, call = self._struck(request, now, correlation_id, fault)
        self.log.add(self._entry(request, now, reply, correlation_id, fault, call))
        if reply.fate is Fate.ANSWER and self.settings.latency:
            reply = replace(reply, delay=reply.delay + self.settings.latency)
        return self._dressed(reply, now, (("ININ-Correlation-Id", correlation_id),))

    def _control(self, request: Request) -> Reply:
        """Answer a control page; the bare engine has none."""
        return Reply(404)

    def _struck(
        self, request: Request, now: float, correlation_id: str, fault: Fault | None
    ) -> tuple[Reply, Call | None]:
        """The reply with the fault in it, and the call when it got as far as being one."""
        if fault is Fault.RESET_BEFORE:
            return Reply(0, fate=Fate.RESET), None
        if fault is Fault.BAD_GATEWAY:
            return misbehaviour.gateway_error(502, self.settings, correlation_id), None
        if request.path == "/oauth/token":
            return self._token(request, now, fault, correlation_id), None
        call: Call | None = None
        try:
            call = self._authenticated(request, now, correlation_id, fault)
            self._count(call)
            reply = misbehaviour.before(fault, call) or self._handled(call, fault)
        except Refused as refused:
            reply = answer(refused.status, refused.body(correlation_id), refused.headers)
        if call is None:
            return reply, None
        reply = misbehaviour.after(fault, reply, self.settings, correlation_id)
        return replace(reply, headers=(*reply.headers, *self._rate_headers(call, reply.status))), call

    def _handled(self, call: Call, fault: Fault | None) -> Reply:
        if fault is Fault.LATE_WRITE:
            due = call.now + self.settings.late_seconds
            heapq.heappush(self._late, (due, next(self._order), replace(call, now=due)))
            return Reply(0, fate=Fate.HANG, delay=self.settings.hang_seconds)
        return self._routed(call)

    def _token(self, request: Request, now: float, fault: Fault | None, correlation_id: str) -> Reply:
        if fault is Fault.TOKEN_THROTTLED:
            return oauth.throttled()
        if request.method != "POST":
            return answer(405, Refused(405, "bad.request").body(correlation_id), (("Allow", "POST"),))
        reply = oauth.token_reply(request, self._world.book, now, self.settings)
        return misbehaviour.after(fault, reply, self.settings, correlation_id)

    def _authenticated(self, request: Request, now: float, correlation_id: str, fault: Fault | None) -> Call:
        if len(request.body) > self.settings.body_maximum:
            text = f"The request is over the size limit. Maximum bytes: {self.settings.body_maximum}"
            raise Refused(413, "request.entity.too.large", text)
        scheme, _, value = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not value:
            raise Refused(401, "authentication.required")
        if fault is Fault.TOKEN_DIES:
            self._world.book.revoke(value)
        token = self._world.book.check(value, now, self.settings)
        if token is None:
            raise Refused(401, "bad.credentials")
        if "preserveIdleTTL=true" not in request.query:
            token.used = now
        return Call(self._world, request, now, correlation_id, token)

    def _count(self, call: Call) -> None:
        """Count the call against its budgets. Raises the documented 429."""
        settings, client = self.settings, call.token.client.id
        key = call.token.value if settings.rate_per is RatePer.TOKEN else client
        counts = [self._take(("api", key), call.now, settings.rate)]
        if settings.scim_rate and _SCIM_ROOT.match(call.request.path):
            counts.append(self._take(("scim", client), call.now, settings.scim_rate))
        call.headers = [
            ("inin-ratelimit-count", str(counts[0].count)),
            ("inin-ratelimit-allowed", str(counts[0].allowed)),
            ("inin-ratelimit-reset", str(counts[0].reset)),
        ]
        full = next((count for count in counts if not count.let_in), None)
        if full is not None:
            raise too_many(full.reset, str(full.reset))

    def _take(self, key: tuple[str, str], now: float, rate: int) -> Count:
        windows, length = self._world.windows, self.settings.window
        if len(windows) > 20_000:
            self._world.windows = windows = {k: w for k, w in windows.items() if not w.is_over(now, length)}
        window = windows.setdefault(key, Window())
        return window.take(now, rate, self.settings.window, self.settings.window_kind)

    def _rate_headers(self, call: Call, status: int) -> tuple[tuple[str, str], ...]:
        wanted = self.settings.rate_headers
        if wanted is RateHeaders.NEVER or (status == 429 and wanted is RateHeaders.NOT_ON_429):
            return ()
        return tuple(call.headers)

    def _routed(self, call: Call) -> Reply:
        parts = call.parts
        if parts[:3] == ["api", "v2", "scim"]:
            return self._scim(call, parts[4:] if parts[3:4] == ["v2"] else parts[3:])
        if parts[:3] == ["api", "v2", "users"]:
            return native.users(call, parts[3:])
        get = call.request.method == "GET"
        if parts == ["api", "v2", "organizations", "authentication", "settings"] and get:
            return native.authentication_settings(call)
        if parts[:5] == ["api", "v2", "organizations", "limits", "namespaces"] and get:
            return native.limits(call, parts[5:])
        if parts == ["api", "v2", "tokens", "me"] and call.request.method in ("GET", "HEAD"):
            return native.token_info(call)
        raise Refused(404, "not.found")

    def _scim(self, call: Call, rest: list[str]) -> Reply:
        name = rest[0] if rest else ""
        handlers = {
            "users": scim.users,
            "groups": scim.groups,
            "schemas": discovery.schemas,
            "resourcetypes": discovery.resource_types,
            "serviceproviderconfig": discovery.provider_config,
        }
        if name.lower() not in handlers or (
            name != name.lower() and self.settings.capital_paths is Accepted.REFUSED
        ):
            raise Refused(404, "not.found")
        return handlers[name.lower()](call, rest[1:])

    def _dressed(self, reply: Reply, now: float, extra: tuple[tuple[str, str], ...] = ()) -> Reply:
        second = int(now)
        if self._date[0] != second:
            self._date = (second, formatdate(second, usegmt=True))
        return replace(reply, headers=(("Date", self._date[1]), *extra, *reply.headers))

    # --- faults and late writes ---------------------------------------------------------------------

    def _pick(self, request: Request) -> Fault | None:
        scopes = misbehaviour.scopes(request.method, request.path)
        # One number a request, used or not, so that a planned fault does not shift the ones after it.
        draw = self._luck.random()
        for planned in self._planned:
            if planned.fits(request.method, request.path, scopes):
                self._planned.remove(planned)
                return planned.fault
        return choose(self.settings.faults, scopes, draw)

    def _settle(self, now: float) -> None:
        """Apply the late writes that are due, in the order in which they are."""
        while self._late and self._late[0][0] <= now:
            call = heapq.heappop(self._late)[2]
            try:
                reply = self._routed(call)
            except Refused as refused:
                reply = Reply(refused.status)
            entry = self._entry(call.request, call.now, reply, call.correlation_id, Fault.LATE_WRITE, call)
            self.log.note(entry)

    def _entry(
        self,
        request: Request,
        now: float,
        reply: Reply,
        correlation_id: str,
        fault: Fault | None,
        call: Call | None,
    ) -> Entry:
        return Entry(
            time=now,
            method=request.method,
            path=request.path,
            query=request.query,
            status=reply.status,
            fault=fault.value if fault else None,
            fate=reply.fate,
            correlation_id=correlation_id,
            client=call.token.client.id if call else None,
            user=call.user_id if call else None,
        )

    def _new_id(self) -> str:
        digits = f"{self._ids.getrandbits(128):032x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:]}"

    # --- state ---

    @property
    def settings(self) -> Settings:
        """The settings of this moment; assign to change them while it runs."""
        return self._world.settings

    @settings.setter
    def settings(self, settings: Settings) -> None:
        self._world.settings = settings
        self._unrender()

    @property
    def base_url(self) -> str:
        """What `meta.location` begins with."""
        return self._world.base_url

    @base_url.setter
    def base_url(self, url: str) -> None:
        self._world.base_url = url
        self._unrender()

    def _unrender(self) -> None:
        for directory in self._world.directories.values():
            for user in directory:
                user.rendered = None

    def forget(self) -> None:
        """Begin again with the seed: its users and its faults, no token, no password, no journal."""
        orgs = {client.org for client in self._clients.values()} | {""}
        start = self._clock()
        self._luck.seed(f"{self._seed}/faults")
        self._ids.seed(f"{self._seed}/ids")
        self._world.directories = {
            org: seeding.directory(self._seed, self._users, start, org) for org in sorted(orgs)
        }
        self._world.book.tokens.clear()
        self._world.windows.clear()
        self._late.clear()
        self._planned.clear()
        self.log = Journal(deque(maxlen=self.log.entries.maxlen))
