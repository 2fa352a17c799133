"""Access tokens by OAuth 2.0 client credentials (RFC 6749 §4.4), cached and shared by everybody who asks.

Genesys Cloud: `POST https://login.<domain>/oauth/token`, Basic authentication, form body, no scope. Its token
endpoint throttles with 400 `invalid_request` and a description that begins with "rate limit exceeded;".
"""

import asyncio
import base64
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx2

from passferry.adapters.http_client import Lost, exchange
from passferry.domain.answers import DEFAULT_WAIT, Answer, retry_after
from passferry.domain.scim import text_of
from passferry.ports import Clock

SHORTEST_LIFE, LONGEST_LIFE = 60.0, 450 * 86400.0
"""Seconds between which a token's stated lifetime is believed."""

ASSUMED_LIFE = 300.0
"""Seconds a token is used when its lifetime is missing or no number; it may die earlier, as any token may."""

FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 30.0
"""Seconds between a failed token request and the next one; doubled with every failure."""

_TOKEN = re.compile(r"[!-~]{1,16384}")
_KNOWN_REFUSALS = frozenset({"invalid_client", "ip.not.authorized"})


class Secret(Protocol):
    """Something that shows its text to whoever asks on purpose."""

    def reveal(self) -> str:
        """The text."""


class TokenError(Exception):
    """There is no token. The exception holds nothing of the request."""


class TokenRefused(TokenError):
    """The token endpoint says no, and will go on saying so.

    ``code`` is invalid_client, ip.not.authorized or token.refused.
    """

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class TokenThrottled(TokenError):
    """The token endpoint asked to wait ``retry_after`` seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("token.throttled")
        self.retry_after = retry_after


class TokenUnavailable(TokenError):
    """The token endpoint could not be reached, failed, or gave an answer that is none.

    ``retry_after``: seconds for which it asked to be left alone; None if it did not.
    """

    def __init__(self, retry_after: float | None) -> None:
        super().__init__("token.unavailable")
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    refresh_at: float  # monotonic seconds
    expires_at: float

    def __repr__(self) -> str:
        return "_Token(***)"


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why the last flight brought no token. Kept as a value: each waiter raises an exception of its own."""

    kind: str  # "refused", "throttled" or "unavailable"
    code: str = ""
    wait: float = 0.0

    def error(self, wait: float) -> TokenError:
        if self.kind == "refused":
            return TokenRefused(self.code)
        if self.kind == "throttled":
            return TokenThrottled(wait)
        return TokenUnavailable(wait if self.wait else None)


class Tokens:
    """The access tokens of one OAuth client.

    Args:
        client: see ``http_client``; used, never closed.
        login_url: base of the login host, without a trailing slash.
        client_id: public name of the OAuth client.
        client_secret: its secret. It may show another text from one moment to the next: a refused request is
            repeated once with it, and no wait that a refusal brought about is kept.
        clock: only its monotonic time is read.
        on_answer: told status and headers (names in lower case) of every answer of the token endpoint.
        limit: seconds that a token request may take in all.
        on_failure: told of every token request that brought no token: refused, throttled or unavailable.
    """

    def __init__(
        self,
        client: httpx2.AsyncClient,
        login_url: str,
        client_id: str,
        client_secret: Secret,
        clock: Clock,
        on_answer: Callable[[int, Mapping[str, str]], None] = lambda status, headers: None,
        *,
        limit: float = 10.0,
        on_failure: Callable[[str], None] = lambda kind: None,
    ) -> None:
        self._client, self._url = client, login_url.rstrip("/") + "/oauth/token"
        self._id, self._secret = client_id, client_secret
        self._clock, self._on_answer, self._limit = clock, on_answer, limit
        self._on_failure = on_failure
        self._token: _Token | None = None
        self._flight: asyncio.Task[None] | None = None
        self._failure: _Failure | None = None
        self._not_before = -math.inf  # monotonic: no token request before
        self._failures = 0
        self._refused: str | None = None  # the secret that was refused last

    def __repr__(self) -> str:
        return f"Tokens({self._url!r}, {self._id!r})"

    def current(self) -> str | None:
        """A token believed valid, or None. No I/O."""
        token = self._token
        return token.text if token is not None and self._clock.monotonic() < token.expires_at else None

    def drop(self, token: str) -> None:
        """Forget ``token``, which the target did not accept; a newer one is kept."""
        if self._token is not None and self._token.text == token:
            self._token = None

    async def get(self) -> str:
        """A token believed valid, fetched if need be.

        However many ask at once, one request is made, and the cancellation of one of them cancels it for
        nobody. Near its end a token is renewed early; while that fails the old one is used as long as it
        is valid.

        Raises ``TokenRefused``, ``TokenThrottled`` or ``TokenUnavailable``.
        """
        if self._flight is None and self._due():
            self._flight = asyncio.create_task(self._fly(), name="token request")
        if self._flight is not None:
            await asyncio.shield(self._flight)
        token = self.current()
        if token is not None:
            return token
        failure = self._failure or _Failure("unavailable")
        raise failure.error(max(1.0, self._not_before - self._clock.monotonic()))

    def resume(self) -> None:
        """Forget a wait that the endpoint asked for, or that failures brought about."""
        self._not_before = -math.inf

    async def close(self) -> None:
        """Give up a token request under way."""
        if self._flight is not None:
            self._flight.cancel()
            await asyncio.wait([self._flight])

    def _due(self) -> bool:
        now = self._clock.monotonic()
        if self._token is not None and now < self._token.refresh_at:
            return False
        return now >= self._not_before or self._replaced()

    def _replaced(self) -> bool:
        """Whether the secret is another now than the one that was refused."""
        return self._refused is not None and self._secret.reveal() != self._refused

    async def _fly(self) -> None:
        try:
            got = await self._request(self._secret.reveal())
            if self._replaced():
                got = await self._request(self._secret.reveal())
        finally:
            self._flight = None
        if isinstance(got, _Token):
            self._token, self._failure, self._failures = got, None, 0
            return
        backoff = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** min(self._failures, 10))
        self._failure, self._failures = got, self._failures + 1
        self._not_before = self._clock.monotonic() + max(got.wait, backoff)
        self._on_failure(got.kind)

    async def _request(self, secret: str) -> _Token | _Failure:
        start = self._clock.monotonic()  # a token's life began before the answer came, not after
        basic = base64.b64encode(f"{self._id}:{secret}".encode("utf-8", "replace")).decode()
        answer = await exchange(
            self._client,
            "POST",
            self._url,
            headers={
                "Authorization": f"Basic {basic}",
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
            },
            content=b"grant_type=client_credentials",
            limit=self._limit,
        )
        if isinstance(answer, Lost):
            return _Failure("unavailable")
        self._on_answer(answer.status, answer.headers)
        got = _read(answer, start)
        self._refused = secret if isinstance(got, _Failure) and got.kind == "refused" else None
        return got


def _read(answer: Answer, start: float) -> _Token | _Failure:
    """What the token endpoint answered (RFC 6749 §5.1, §5.2, and Genesys Cloud's own ways)."""
    body: Mapping[str, Any] = answer.members() or {}
    wait = retry_after(answer.headers)
    if answer.status == 429 or (answer.status == 400 and _says_throttled(body)):
        return _Failure("throttled", wait=max(1.0, DEFAULT_WAIT if wait is None else wait))
    if answer.status in (400, 401, 403) and ("error" in body or "code" in body):
        code = body.get("error", body.get("code"))
        return _Failure("refused", code if code in _KNOWN_REFUSALS else "token.refused")
    text = text_of(body.get("access_token"))
    if answer.status != 200 or text is None or not _TOKEN.fullmatch(text):
        return _Failure("unavailable", wait=wait or 0.0)
    life = _lifetime(body.get("expires_in"))
    return _Token(text, start + life - min(120.0, life / 10), start + life)


def _says_throttled(body: Mapping[str, Any]) -> bool:
    texts = (body.get("description"), body.get("error_description"))
    return any((text_of(text) or "").startswith("rate limit exceeded") for text in texts)


def _lifetime(stated: Any) -> float:
    """Seconds; ``stated`` may be a number, kept as its text, or text that is one."""
    try:
        seconds = float(stated) if isinstance(stated, str) and len(stated) <= 32 else math.nan
    except ValueError:
        seconds = math.nan
    if not math.isfinite(seconds) or seconds <= 0:
        return ASSUMED_LIFE
    return min(max(seconds, SHORTEST_LIFE), LONGEST_LIFE)
