"""A SCIM service provider, for clients that speak to it through us: the port ``Provider``."""

import json
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from passferry.adapters.bearer import Bearer
from passferry.adapters.inactive import Inactive
from passferry.domain.answers import Answer, unusable
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.paging import PAGE
from passferry.domain.scim import NotScim, list_items
from passferry.domain.scim_query import Equals, Query, meets
from passferry.ports import BULK_RELAYED, RELAYED, Clock, Found
from passferry.relay_gate import Busy

FRESH = 5.0
"""Seconds for which an answer is used again: providers look twice before they write."""
MOST_KEPT = 256
"""Answers that are kept of an org,"""
MOST_BYTES = 4 * 1024 * 1024
"""and their bytes."""

_OF_ONE = frozenset({"id", "username", "externalid"})


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a provider differs from RFC 7644 on the wire.

    ``base`` is the address above the kinds of resources, and ``every_group`` lists groups without a filter.
    ``lower``: kinds are written in lower case.
    ``strong``: versions are sent back as strong entity tags, and names of attributes one by one.
    ``page``: resources that a page may have.
    ``hides_inactive``: a search by name may leave inactive users out.
    """

    base: str
    every_group: str
    lower: bool = False
    strong: bool = False
    page: int = 100
    hides_inactive: bool = False


def genesys(api_url: str) -> Dialect:
    """Genesys Cloud: lower case, two trees, one of which lists groups by a filter only; pages of 25."""
    scim = api_url.rstrip("/") + "/api/v2/scim"
    return Dialect(f"{scim}/v2", f"{scim}/groups", lower=True, strong=True, page=PAGE, hides_inactive=True)


def plain(base_url: str) -> Dialect:
    """A provider that follows the RFC."""
    base = base_url.rstrip("/")
    return Dialect(base, f"{base}/Groups")


class Kept:
    """Answers, for moments, in bounded number and size."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[float, Answer]] = OrderedDict()
        self._bytes = 0
        self.times_cleared = 0

    def get(self, url: str, now: float) -> Answer | None:
        """What was answered to ``url`` less than ``FRESH`` seconds before ``now``."""
        at, answer = self._kept.get(url, (0.0, None))
        return answer if answer is not None and now - at < FRESH else None

    def put(self, url: str, answer: Answer, now: float) -> None:
        """Keep ``answer`` from now on."""
        self._drop(url)
        self._kept[url] = now, answer
        self._bytes += len(answer.body or b"")
        while self._kept:
            first = next(iter(self._kept))
            bounded = len(self._kept) <= MOST_KEPT and self._bytes <= MOST_BYTES
            if bounded and now - self._kept[first][0] < FRESH:
                return
            self._drop(first)

    def clear(self) -> None:
        """Keep nothing."""
        self._kept.clear()
        self._bytes = 0
        self.times_cleared += 1

    def _drop(self, url: str) -> None:
        _, answer = self._kept.pop(url, (0.0, None))
        self._bytes -= len(answer.body or b"") if answer is not None else 0


class Relay:
    """See the module.

    Args:
        bearer: how requests are made; its gate may raise ``Busy``. Closed by ``close``.
        dialect: how the provider differs.
        clock: only its monotonic time is read.
        before: the relay of everybody else; this one gives way.
    """

    def __init__(self, bearer: Bearer, dialect: Dialect, clock: Clock, before: "Relay | None" = None) -> None:
        self._bearer, self._dialect, self._clock = bearer, dialect, clock
        self._kept: Kept = Kept() if before is None else before._kept
        self._inactive: Inactive = (
            Inactive(self._inactive_page, clock) if before is None else before._inactive
        )
        self._for_one = RELAYED if before is None else BULK_RELAYED
        self._quoted: bool | None = None  # the form of filter values that found somebody here
        self._giving_way = self if before is not None else Relay(bearer, dialect, clock, self)

    @property
    def giving_way(self) -> "Relay":
        """See the port."""
        return self._giving_way

    @property
    def page(self) -> int:
        """See the port."""
        return self._dialect.page

    async def one(
        self, kind: str, resource_id: str, query: Query, *, fresh: bool = False
    ) -> Answer | Outcome:
        """See the port."""
        url = f"{self._place(kind)}/{_segment(resource_id)}"
        return await self._read(_with(url, self._selection(query)), self._for_one, fresh=fresh)

    async def search(self, kind: str, query: Query) -> Found | Answer | Outcome:
        """See the port. A filter value is tried with quotes and without, until one form has found somebody.

        Whoever has something else than was asked for is left out. Who is not found by what is one user's
        alone may be inactive.
        """
        wanted = query.filter
        if isinstance(wanted, Equals) and wanted.name != "id":  # which is always shown
            query = query.showing(wanted.shown)
        found = await self._listed(kind, query)
        hidden = kind == "Users" and self._dialect.hides_inactive and query.start == 1
        if hidden and found == Found(0, []) and isinstance(wanted, Equals) and wanted.name in _OF_ONE:
            return await self._inactive_one(kind, query, wanted)
        return found

    async def _listed(self, kind: str, query: Query) -> Found | Answer | Outcome:
        found: Found | Answer | Outcome = Found(0, [])
        for condition, quoted in self._conditions(query):
            answer = await self._read(self._list_url(kind, query, condition), self._priority(query))
            if isinstance(answer, Outcome):
                return answer
            if answer.status == 400 and quoted is not None:
                found = answer if found == Found(0, []) else found
                continue
            found = _found(answer, query)
            if not isinstance(found, Found) or (found.items and quoted is not None):
                self._quoted = quoted if isinstance(found, Found) else self._quoted
                return found
            if self._quoted is not None:
                return found  # the form is known to be right, so its empty answer is too
        return found

    async def send(
        self, method: str, kind: str, resource_id: str | None, body: str | None, version: str | None = None
    ) -> Answer | Outcome:
        """See the port."""
        url = self._place(kind) if resource_id is None else f"{self._place(kind)}/{_segment(resource_id)}"
        self.forget()
        try:
            answer = await self._bearer.send(method, url, body, self._tag(version), self._for_one)
        except Busy as busy:
            return Outcome(Kind.THROTTLED, "target.busy", retry_after=busy.seconds)
        finally:
            self.forget()
        if isinstance(answer, Answer) and kind == "Users":
            if 200 <= answer.status < 300:
                self._inactive.noted(answer)
            elif answer.status == 409 and resource_id is None:
                self._inactive.doubt()
        return answer

    def forget(self) -> None:
        """See the port."""
        self._kept.clear()

    async def close(self) -> None:
        """See the port."""
        await self._inactive.close()
        await self._bearer.close()

    # --- inactive users -------------------------------------------------------------------------

    async def _inactive_one(self, kind: str, query: Query, wanted: Equals) -> Found | Answer | Outcome:
        """Who is meant by ``wanted``, as it is now, though no search by it finds anybody."""
        found = await self._known_one(kind, query, wanted)
        if found == Found(0, []) and wanted.name != "id" and self._inactive.drop(wanted):
            return await self._known_one(kind, query, wanted)  # somebody else may have that name by now
        return found

    async def _known_one(self, kind: str, query: Query, wanted: Equals) -> Found | Answer | Outcome:
        known = wanted.value if wanted.name == "id" else await self._inactive.id_of(wanted)
        if isinstance(known, Outcome):
            return known
        answer = None if known is None else await self.one(kind, known, query)
        if isinstance(answer, Outcome):
            return answer
        if answer is None or answer.status in (400, 404, 410):
            return Found(0, [])
        if answer.status != 200:
            return answer
        try:
            other = meets(answer.text(), wanted) is False
        except NotScim:
            return unusable(answer)
        return Found(0, []) if other else Found(1, [answer.text()][: query.count])

    async def _inactive_page(self, start: int) -> Answer | Outcome:
        query = Query(start=start, attributes=("id", "userName", "active", "externalId"))
        return await self._ask(self._list_url("Users", query, "active eq false"), BULK_RELAYED)

    # --- addresses ------------------------------------------------------------------------------

    def _place(self, kind: str) -> str:
        return f"{self._dialect.base}/{kind.lower() if self._dialect.lower else kind}"

    def _list_url(self, kind: str, query: Query, condition: str | None) -> str:
        place = self._place(kind)
        if kind == "Groups" and condition is None:
            place = self._dialect.every_group
        count = self._dialect.page if query.count is None else min(query.count, self._dialect.page)
        fields = [] if condition is None else [("filter", condition)]
        fields += [("startIndex", str(query.start)), ("count", str(count))]
        return _with(place, fields + self._selection(query))

    def _selection(self, query: Query) -> list[tuple[str, str]]:
        fields: list[tuple[str, str]] = []
        for name, values in (("attributes", query.attributes), ("excludedAttributes", query.excluded)):
            if values and self._dialect.strong:
                fields += [(name, value) for value in values]
            elif values:
                fields.append((name, ",".join(values)))
        return fields

    def _conditions(self, query: Query) -> Iterator[tuple[str | None, bool | None]]:
        """The filter in the forms to be tried, and whether each one is the quoted form of a comparison."""
        wanted = query.filter
        if not isinstance(wanted, Equals):
            yield wanted, None
            return
        if wanted.literal:
            yield f"{wanted.attribute} eq {wanted.value}", None
            return
        plain_form = any(sign in wanted.value for sign in ' "\\()[]{}') or not wanted.value.isprintable()
        first = self._quoted is not False
        for quoted in [True] if plain_form else [first, not first]:
            value = json.dumps(wanted.value, ensure_ascii=False) if quoted else wanted.value
            yield f"{wanted.attribute} eq {value}", quoted

    def _priority(self, query: Query) -> int:
        """Who asks for many gives way to whoever asks for one."""
        one = isinstance(query.filter, Equals) and query.filter.name in _OF_ONE
        return self._for_one if one else BULK_RELAYED

    def _tag(self, version: str | None) -> str | None:
        if version is None:
            return None
        bare = version.strip().removeprefix("W/").strip('"')
        return f'"{bare}"' if self._dialect.strong else version.strip()

    async def _read(self, url: str, priority: int, *, fresh: bool = False) -> Answer | Outcome:
        kept = None if fresh else self._kept.get(url, self._clock.monotonic())
        if kept is not None:
            return kept
        times_cleared = self._kept.times_cleared
        answer = await self._ask(url, priority)
        overtaken = times_cleared != self._kept.times_cleared  # it may show the state before a write
        if isinstance(answer, Answer) and answer.status == 200 and not overtaken:
            self._kept.put(url, answer, self._clock.monotonic())
        return answer

    async def _ask(self, url: str, priority: int) -> Answer | Outcome:
        try:
            return await self._bearer.ask(url, priority)
        except Busy as busy:
            return Outcome(Kind.THROTTLED, "target.busy", retry_after=busy.seconds)


def _segment(resource_id: str) -> str:
    """An id within an address. `.` and `..` would name something else, and no user has such an id."""
    return quote(resource_id, safe="", errors="replace") if resource_id.strip(".") else "%2E"


def _with(url: str, fields: list[tuple[str, str]]) -> str:
    return f"{url}?{urlencode(fields, quote_via=quote, errors='replace')}" if fields else url


def _found(answer: Answer, query: Query) -> Found | Answer | Outcome:
    if answer.status != 200:
        return answer
    wanted = query.filter
    try:
        total, items = list_items(answer.text())
        if isinstance(wanted, Equals):  # the one who does not show it is believed to be the one asked for
            kept = [
                item for item in items if meets(item, wanted) or (total == 1 and meets(item, wanted) is None)
            ]
        else:
            kept = items
    except NotScim:
        return unusable(answer)
    honoured = len(kept) == len(items)  # else the total counts others, too
    return Found(total if honoured else len(kept), kept)
