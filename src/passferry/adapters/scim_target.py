"""The users of a SCIM 2.0 service provider (RFC 7644), and any such provider as a target."""

import json
import re
from urllib.parse import quote, urlencode

import httpx2

from passferry.adapters.bearer import Bearer
from passferry.adapters.oauth import Secret
from passferry.domain.answers import Answer, classify_read, unusable
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.password import Password
from passferry.domain.scim import NotScim, User, list_items, parse_user, patch_body, put_body
from passferry.ports import READ, Clock, Gate

SCIM_PUT, SCIM_PATCH = "scim-put", "scim-patch"
"""Write modes that SCIM has."""

_MAY_STAND_UNQUOTED = re.compile(r"[^\s\"'`()\[\]{}<>\\,;\x00-\x1f\x7f]+")


class ScimUsers:
    """Finding, reading and writing the users of one collection.

    Args:
        bearer: how requests are made.
        users_url: the collection, without a trailing slash.
        strong: send versions back as strong entity tags whatever form they came in. Genesys Cloud has strong
            ones only, and proxies that compress weaken them; other providers get back what they gave.
    """

    def __init__(self, bearer: Bearer, users_url: str, *, strong: bool = False) -> None:
        self._bearer, self._url, self._strong = bearer, users_url, strong
        self._quoted: bool | None = None  # the form of filter values that found a user here

    async def find(self, user_name: str, priority: int = READ) -> User | Outcome | None:
        """See ``Target.find``. Some providers take filter values in quotes only, some only without."""
        refusal: Outcome | None = None
        empty = False
        for quoted in self._forms(user_name):
            if empty and self._quoted is not None:
                break  # the form is known to be right, so its empty answer is too
            answer = await self._bearer.ask(self.list_url(_equals(user_name, quoted=quoted)), priority)
            if isinstance(answer, Outcome):
                return answer
            if answer.status == 400 and answer.members() is not None:
                refusal = classify_read(answer)
                continue
            found = _only(answer, user_name)
            if isinstance(found, User):
                self._quoted = quoted
            if found is not None:
                return found
            empty = True
        return None if empty else refusal

    def _forms(self, user_name: str) -> list[bool]:
        if not _MAY_STAND_UNQUOTED.fullmatch(user_name):
            return [True]
        first = self._quoted is not False
        return [first, not first]

    async def page(
        self, condition: str | None, start: int, count: int, priority: int
    ) -> Outcome | tuple[int, list[str], float]:
        """(totalResults, the texts of the users from number ``start``, at most ``count``, seconds it took).

        Whole users: none of their attributes is selected. ``condition`` None: those that are listed without.
        """
        answer = await self._bearer.read(self.list_url(condition, start, count), priority)
        if isinstance(answer, Outcome):
            return _about_a_list(answer)
        try:
            return (*list_items(answer.text()), answer.seconds)
        except NotScim:
            return unusable(answer)

    def list_url(self, condition: str | None, start: int | None = None, count: int | None = None) -> str:
        """Where the users that meet ``condition`` (a filter, RFC 7644 §3.4.2.2) are listed."""
        query: dict[str, str | int] = {} if condition is None else {"filter": condition}
        if start is not None and count is not None:
            query |= {"startIndex": start, "count": count}
        return f"{self._url}?{urlencode(query, quote_via=quote, errors='replace')}"

    def user_url(self, user_id: str) -> str:
        """Where the user is."""
        return f"{self._url}/{quote(user_id, safe='', errors='replace')}"

    async def read(self, user_id: str, priority: int = READ) -> User | Outcome:
        """See ``Target.read``."""
        if user_id in ("", ".", ".."):
            return Outcome(Kind.BLOCKED, "user.unknown")  # as a path it would name something else
        answer = await self._bearer.read(self.user_url(user_id), priority)
        if isinstance(answer, Outcome):
            return answer
        try:
            user = parse_user(answer.text(), answer.headers.get("etag"))
        except NotScim:
            return unusable(answer)
        # An id is matched without case: a UUID may be written either way.
        return user if user.id.casefold() == user_id.casefold() else Outcome(Kind.HELD, "user.changed")

    async def put(self, user: User, password: Password) -> Outcome:
        """Write the user back as read, with ``password`` (RFC 7644 §3.5.1)."""
        body = put_body(user, password.reveal())
        return await self._write("PUT", user, body, password)

    async def patch(self, user: User, password: Password) -> Outcome:
        """Replace the attribute ``password`` and nothing else (RFC 7644 §3.5.2)."""
        body = patch_body(password.reveal())
        return await self._write("PATCH", user, body, password)

    async def _write(self, method: str, user: User, body: str, password: Password) -> Outcome:
        if_match = self._if_match(user)
        return await self._bearer.write(method, self.user_url(user.id), body, password, if_match, user.id)

    def _if_match(self, user: User) -> str | None:
        if user.entity_tag is not None and not self._strong:
            return user.entity_tag
        return f'"{user.version}"' if user.version is not None else None


def _equals(user_name: str, *, quoted: bool) -> str:
    return f"userName eq {json.dumps(user_name, ensure_ascii=False) if quoted else user_name}"


def _about_a_list(outcome: Outcome) -> Outcome:
    """404 of a list is about the address, not about a user."""
    if outcome.code == "user.unknown":
        return Outcome(Kind.UNAVAILABLE, "target.answer.unusable", outcome.correlation_id)
    return outcome


def _only(answer: Answer, user_name: str) -> User | Outcome | None:
    """The one user of a list that really has this name: filters are not taken at their word."""
    failure = classify_read(answer)
    if failure is not None:
        return _about_a_list(failure)
    try:
        users = [parse_user(item) for item in list_items(answer.text())[1]]
    except NotScim:
        return unusable(answer)
    same = {user.id: user for user in users if user.user_name.casefold() == user_name.casefold()}
    if len(same) > 1:
        return Outcome(Kind.BLOCKED, "user.ambiguous")
    return next(iter(same.values()), None)


class FixedToken:
    """A bearer token from the configuration, which nothing can renew."""

    def __init__(self, token: Secret) -> None:
        self._token = token

    def __repr__(self) -> str:
        return "FixedToken(***)"

    async def get(self) -> str:
        """The token."""
        return self._token.reveal()

    def current(self) -> str | None:
        """The token."""
        return self._token.reveal()

    def drop(self, token: str) -> None:
        """Nothing: there is no other."""

    def resume(self) -> None:
        """Nothing is waited for."""

    async def close(self) -> None:
        """Nothing is under way."""


class ScimTarget:
    """A SCIM 2.0 service provider with a fixed bearer token, as the port ``Target``.

    Args:
        base_url: its root; users are at ``{base_url}/Users``.
        token: the bearer token.
        write_mode: ``scim-put`` or ``scim-patch``.
        client: see ``http_client``; closed by ``close``.
        gate: paces reads, and is told every answer.
        request_limit: seconds that one request may take in all.
        clock: see ``Bearer``.
    """

    def __init__(
        self,
        base_url: str,
        token: Secret,
        write_mode: str,
        client: httpx2.AsyncClient,
        gate: Gate,
        request_limit: float = 10.0,
        clock: Clock | None = None,
    ) -> None:
        if write_mode not in (SCIM_PUT, SCIM_PATCH):
            raise ValueError(f"write mode {write_mode!r} is none of a SCIM service provider")
        self._mode = write_mode
        self._bearer = Bearer(client, FixedToken(token), gate, request_limit, "application/scim+json", clock)
        self._users = ScimUsers(self._bearer, base_url.rstrip("/") + "/Users")

    async def find(self, user_name: str, priority: int = READ) -> User | Outcome | None:
        """See ``Target.find``."""
        return await self._users.find(user_name, priority)

    async def inactive(self) -> dict[str, str] | Outcome:
        """Empty: a lookup by name finds inactive users too."""
        return {}

    async def read(self, user_id: str, priority: int = READ) -> User | Outcome:
        """See ``Target.read``."""
        return await self._users.read(user_id, priority)

    async def page(self, start: int, priority: int) -> None:
        """None: what a list of another service provider shows is not known."""
        return

    def alike(self, listed: User, read: User) -> bool:
        """See ``Target.alike``."""
        return False

    @property
    def conditional(self) -> bool:
        """See ``Target.conditional``."""
        return True

    async def write(self, user: User, password: Password) -> Outcome:
        """See ``Target.write``."""
        if self._mode == SCIM_PATCH:
            return await self._users.patch(user, password)
        return await self._users.put(user, password)

    def resume(self) -> None:
        """See ``Target.resume``."""
        self._bearer.resume()

    async def close(self) -> None:
        """Give up connections."""
        await self._bearer.close()
