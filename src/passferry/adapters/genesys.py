"""One org of Genesys Cloud as a target: its SCIM users, or its own call that sets a password."""

import json
from dataclasses import replace
from urllib.parse import quote

import httpx2

from passferry.adapters.bearer import Bearer
from passferry.adapters.oauth import Tokens
from passferry.adapters.scim_target import SCIM_PATCH, SCIM_PUT, ScimUsers
from passferry.domain.outcome import Outcome
from passferry.domain.paging import PAGE
from passferry.domain.password import Password
from passferry.domain.scim import NotScim, User, parse_user, same
from passferry.ports import BULK_LIST, READ, Clock, Gate, Page

NATIVE = "native"
"""Write mode: POST /api/v2/users/{userId}/password."""

MOST_PAGES = 400
"""How many pages of inactive users are read at most."""


class GenesysTarget:
    """See the module; the port ``Target``.

    Args:
        api_url: `https://api.<domain>`.
        write_mode: ``scim-put``, ``scim-patch`` or ``native``.
        tokens: of the org's OAuth client; closed by ``close``.
        client: see ``http_client``; closed by ``close``.
        gate: paces reads, and is told every answer.
        request_limit: seconds that one request may take in all.
        clock: see ``Bearer``.
    """

    def __init__(
        self,
        api_url: str,
        write_mode: str,
        tokens: Tokens,
        client: httpx2.AsyncClient,
        gate: Gate,
        request_limit: float = 10.0,
        clock: Clock | None = None,
    ) -> None:
        if write_mode not in (SCIM_PUT, SCIM_PATCH, NATIVE):
            raise ValueError(f"write mode {write_mode!r} is none of Genesys Cloud")
        self._mode, self._api = write_mode, api_url.rstrip("/") + "/api/v2"
        self._bearer = Bearer(client, tokens, gate, request_limit, "application/json", clock)
        self._users = ScimUsers(self._bearer, self._api + "/scim/v2/users", strong=True)
        self._inactive_so_far: dict[str, str] = {}
        self._inactive_from = 1

    async def find(self, user_name: str, priority: int = READ) -> User | Outcome | None:
        """See ``Target.find``. A filter by name may leave inactive users out."""
        return await self._users.find(user_name, priority)

    async def inactive(self) -> dict[str, str] | Outcome:
        """See ``Target.inactive``: page after page, as bulk, at most 10,000 users.

        After a page that could not be read, the next call goes on with it.
        """
        found, start = self._inactive_so_far, self._inactive_from
        while start <= MOST_PAGES * PAGE:
            page = await self._users.page("active eq false", start, PAGE, BULK_LIST)
            if isinstance(page, Outcome):
                return page
            total, items, _ = page
            found.update(_inactive_names(items))
            start += len(items)
            self._inactive_from = start
            if not items or start > total:
                break
        self._inactive_so_far, self._inactive_from = {}, 1
        return found

    async def page(self, start: int, priority: int) -> Page | Outcome:
        """See ``Target.page``. Without a filter, the list has the active users at least."""
        page = await self._users.page(None, start, PAGE, priority)
        if isinstance(page, Outcome):
            return page
        total, items, took = page
        users = _listed(items)
        usable = [user for user in users if user.active and user.version is not None]
        others = [user for user in users if not user.active or user.version is None]
        return Page(total, len(items), usable, others, took)

    def alike(self, listed: User, read: User) -> bool:
        """See ``Target.alike``. Only a PUT needs more of a user than who it is, and its version."""
        if self._mode == SCIM_PUT:
            try:
                return same(listed.raw, read.raw)
            except NotScim:
                return False
        return replace(listed, raw="", entity_tag=None) == replace(read, raw="", entity_tag=None)

    @property
    def conditional(self) -> bool:
        """See ``Target.conditional``. The native call takes no version."""
        return self._mode != NATIVE

    async def read(self, user_id: str, priority: int = READ) -> User | Outcome:
        """See ``Target.read``."""
        return await self._users.read(user_id, priority)

    async def write(self, user: User, password: Password) -> Outcome:
        """See ``Target.write``."""
        if self._mode == SCIM_PUT:
            return await self._users.put(user, password)
        if self._mode == SCIM_PATCH:
            return await self._users.patch(user, password)
        url = f"{self._api}/users/{quote(user.id, safe='', errors='replace')}/password"
        return await self._bearer.write("POST", url, json.dumps({"newPassword": password.reveal()}), password)

    def resume(self) -> None:
        """See ``Target.resume``."""
        self._bearer.resume()

    async def close(self) -> None:
        """Give up connections and token requests."""
        await self._bearer.close()


def _listed(items: list[str]) -> list[User]:
    """The users that can be understood."""
    users: list[User] = []
    for item in items:
        try:
            users.append(parse_user(item, listed=True))
        except NotScim:
            continue
    return users


def _inactive_names(items: list[str]) -> dict[str, str]:
    """Ids by name. A user that cannot be understood hides nobody else; active ones are left out."""
    names: dict[str, str] = {}
    for item in items:
        try:
            user = parse_user(item)
        except NotScim:
            continue
        if not user.active:
            names[user.user_name.casefold()] = user.id
    return names
