"""Access keys: proof of who calls. A key reads ``pf_<id>_<secret>``; only the SHA-256 of its secret is kept.

A secret has 256 bits of randomness, so a plain hash cannot be searched and a slow one would only slow us.
"""

import asyncio
import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from passferry.domain.source_rules import SourceRules, SourceTables, provisions, spelling
from passferry.ports import Clock
from passferry.store_ports import AccessStore, Caller

_KEY = re.compile(r"pf_([0-9a-z]{1,32})_([0-9a-f]{64})")
_NOBODY = bytes(32)  # compared with when no key has that id, so that both cases take the same time


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key just made. ``text`` is shown to its holder once and kept nowhere."""

    id: str
    secret_sha256: bytes
    text: str = field(repr=False)


def mint(random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> NewKey:
    """A new key from ``random_bytes``, which must be fit for secrets."""
    key_id, secret = random_bytes(5).hex(), random_bytes(32).hex()
    return NewKey(key_id, digest(secret), f"pf_{key_id}_{secret}")


def digest(secret: str) -> bytes:
    """What is stored of a key: SHA-256 of its last part as text."""
    return hashlib.sha256(secret.encode()).digest()


class Access:
    """Who holds a key. Keys are added and revoked beside us, so nothing is kept longer than a second.

    Args:
        store: where keys are.
        clock: moves the cache on.
        fresh: seconds for which a reading of the store is used; a revoked key works that long at most.
        fresh_for_unknown: the same for an id that is not among them, so that a new key works at once while
            made-up ids cannot cost a reading each.
        sources: what is configured of sources.
    """

    def __init__(
        self,
        store: AccessStore,
        clock: Clock,
        *,
        fresh: float = 1.0,
        fresh_for_unknown: float = 0.05,
        sources: SourceTables | None = None,
    ) -> None:
        self._store, self._clock, self._sources = store, clock, sources or SourceTables()
        self._fresh, self._fresh_for_unknown = fresh, fresh_for_unknown
        self._keys: Mapping[str, tuple[Caller, bytes]] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def __call__(self, key_text: str) -> Caller | None:
        """The holder of the key ``key_text``; None when there is none, or it was revoked."""
        match = _KEY.fullmatch(key_text)
        if match is None:
            return None
        await self._refresh(self._fresh)
        found = self._keys.get(match[1])
        if found is None:
            await self._refresh(self._fresh_for_unknown)
            found = self._keys.get(match[1])
        caller, expected = found or (None, _NOBODY)
        proved = hmac.compare_digest(digest(match[2]), expected)
        return caller if proved and caller is not None and caller.revoked_at is None else None

    async def _refresh(self, fresh: float) -> None:
        if self._clock.monotonic() - self._read_at < fresh:
            return
        async with self._reading:
            started = self._clock.monotonic()
            if started - self._read_at < fresh:  # somebody else read while we waited
                return
            found = await self._store.keys()
            self._keys = {
                caller.id: (as_configured(caller, self._sources), secret) for caller, secret in found
            }
            self._read_at = started


NOWHERE = ("",)
"""The orgs of a key that may use none; no org has an empty name."""


def under(rules: SourceRules, caller: Caller) -> Caller:
    """``caller`` as ``rules`` leave it: they narrow its orgs, and their template replaces its own."""
    orgs = tuple(org for org in rules.orgs if caller.may_use(org)) or NOWHERE
    return replace(
        caller,
        orgs=orgs if rules.orgs else caller.orgs,
        user_template=rules.user or caller.user_template,
        rules=rules,
    )


def as_configured(caller: Caller, sources: SourceTables) -> Caller:
    """``caller`` as the rules that ``sources`` have for its name leave it."""
    rules = sources.get(caller.name)
    return caller if rules is None or caller.role != "source" else under(rules, caller)


def may_provision(caller: Caller, org: str) -> bool:
    """Whether ``caller``, as configured, may have all passed on in ``org``, where that is a proxy."""
    in_use = caller.role == "source" and caller.revoked_at is None
    return in_use and caller.may_use(org) and provisions(caller.rules, caller.user_template)


def provisioners(org: str, callers: Iterable[Caller], sources: SourceTables) -> list[Caller]:
    """Who of ``callers`` may provision in ``org``, a proxy, by name; each as ``sources`` leave it."""
    configured = [as_configured(caller, sources) for caller in callers]
    return sorted((one for one in configured if may_provision(one, org)), key=lambda one: one.name)


WITHOUT_KEY = (
    "give the table the name of a key (`passferry access list`), make the key (`passferry access add NAME`),"
    " or remove the table"
)


def without_key(sources: SourceTables, callers: Iterable[Caller]) -> list[str]:
    """Names of the tables of ``sources`` that guard nobody: no source's key that is in use is called that."""
    in_use = {spelling(one.name) for one in callers if one.role == "source" and one.revoked_at is None}
    return sorted(name for name in sources if spelling(name) not in in_use)
