"""Requests to a target: with a bearer token, at the gate's pace, each sent once.

Reads renew the token and are asked again once after a 401. A write is one request, whatever becomes of it.
"""

from collections.abc import Mapping
from typing import Protocol

import httpx2

from passferry.adapters.http_client import Lost, exchange
from passferry.adapters.oauth import TokenRefused, TokenThrottled, TokenUnavailable
from passferry.domain.answers import Answer, classify_read, classify_write
from passferry.domain.outcome import Kind, Outcome
from passferry.domain.password import Password
from passferry.ports import READ, Clock, Gate


class TokenSource(Protocol):
    """Where bearer tokens come from: ``oauth.Tokens``, or ``scim_target.FixedToken``."""

    async def get(self) -> str:
        """A token believed valid. Raises ``TokenError``."""

    def current(self) -> str | None:
        """A token believed valid, or None, without I/O."""

    def drop(self, token: str) -> None:
        """``token`` was not accepted."""

    def resume(self) -> None:
        """Forget a wait that somebody asked for."""

    async def close(self) -> None:
        """Give up what is under way."""


class Bearer:
    """One target's requests.

    Args:
        client: see ``http_client``; closed by ``close``.
        tokens: where tokens come from; closed by ``close``.
        gate: paces reads, and is told every answer.
        limit: seconds that one request may take in all.
        media_type: of bodies sent; asked for in answers.
        clock: what an HTTP date in Retry-After is measured against where the answer has no Date; optional.
    """

    def __init__(
        self,
        client: httpx2.AsyncClient,
        tokens: TokenSource,
        gate: Gate,
        limit: float,
        media_type: str,
        clock: Clock | None = None,
    ) -> None:
        self._client, self._tokens, self._gate = client, tokens, gate
        self._limit, self._media_type, self._clock = limit, media_type, clock

    def resume(self) -> None:
        """Forget a wait before the next token request."""
        self._tokens.resume()

    async def close(self) -> None:
        """Give up connections and token requests."""
        await self._tokens.close()
        await self._client.aclose()

    async def read(self, url: str, priority: int = READ) -> Answer | Outcome:
        """The 200 answer to a GET of ``url``, or what it came to instead."""
        answer = await self.ask(url, priority)
        if isinstance(answer, Outcome):
            return answer
        return classify_read(answer, self._now()) or answer

    async def ask(self, url: str, priority: int = READ) -> Answer | Outcome:
        """The answer to a GET of ``url``, whatever its status but 401."""
        return await self._ask("GET", url, priority)

    async def send(
        self, method: str, url: str, body: str | None, if_match: str | None, priority: int
    ) -> Answer | Outcome:
        """The answer to a request that holds no password, whatever its status but 401.

        It is sent once more after a 401, which says that nothing was done, and in no other case.
        """
        headers = {} if body is None else {"Content-Type": self._media_type}
        if if_match is not None:
            headers["If-Match"] = if_match
        return await self._ask(method, url, priority, headers, None if body is None else body.encode())

    async def _ask(
        self,
        method: str,
        url: str,
        priority: int,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> Answer | Outcome:
        refused: str | None = None
        while True:
            token = await self._paced_token(refused, priority)
            if isinstance(token, Outcome):
                return token
            answer = await self._send(method, url, token, headers, content)
            if isinstance(answer, Lost):
                return _without_answer(answer, write=method != "GET")
            if answer.status != 401:
                return answer
            outcome = classify_read(answer, self._now())
            if outcome is None or outcome.kind is not Kind.UNAUTHORIZED:
                return outcome or answer
            self._tokens.drop(token)
            if refused is not None:
                return Outcome(Kind.ORG_DOWN, "bad.credentials", outcome.correlation_id)
            refused = token

    async def write(
        self,
        method: str,
        url: str,
        body: str,
        password: Password,
        if_match: str | None = None,
        user_id: str | None = None,
    ) -> Outcome:
        """Send ``body`` once. No slot is asked for and no token fetched: both come before the intent.

        ``user_id``: whom a successful answer must show, if it shows anybody.
        """
        token = self._tokens.current()
        if token is None:
            return Outcome(Kind.UNAUTHORIZED)
        headers = {"Content-Type": self._media_type}
        if if_match is not None:
            headers["If-Match"] = if_match
        answer = await self._send(method, url, token, headers, body.encode())
        if isinstance(answer, Lost):
            return _without_answer(answer, write=True)
        outcome = classify_write(answer, password, self._now(), user_id)
        if outcome.kind is Kind.UNAUTHORIZED:
            self._tokens.drop(token)
        return outcome

    def _now(self) -> float | None:
        return self._clock.now() if self._clock is not None else None

    async def _paced_token(self, refused: str | None, priority: int) -> str | Outcome:
        """A token other than ``refused`` at the moment at which a request may start."""
        token = await self._token()
        if isinstance(token, Outcome):
            return token
        if token == refused:
            return Outcome(Kind.ORG_DOWN, "bad.credentials")
        await self._gate.slot(priority)
        return self._tokens.current() or await self._token()  # the wait may have outlived the token

    async def _token(self) -> str | Outcome:
        try:
            return await self._tokens.get()
        except TokenRefused as error:
            return Outcome(Kind.ORG_DOWN, error.code)
        except TokenThrottled as error:
            return Outcome(Kind.THROTTLED, "token.throttled", retry_after=error.retry_after)
        except TokenUnavailable as error:
            return Outcome(Kind.UNAVAILABLE, "token.unavailable", retry_after=error.retry_after)

    async def _send(
        self,
        method: str,
        url: str,
        token: str,
        headers: Mapping[str, str] | None = None,
        content: bytes | None = None,
    ) -> Answer | Lost:
        answer = await exchange(
            self._client,
            method,
            url,
            headers={"Authorization": f"Bearer {token}", "Accept": self._accept(), **(headers or {})},
            content=content,
            limit=self._limit,
        )
        if isinstance(answer, Answer):
            self._gate.answered(answer.status, answer.headers)
        return answer

    def _accept(self) -> str:
        other = "application/json;q=0.9"
        return self._media_type if self._media_type == "application/json" else f"{self._media_type}, {other}"


def _without_answer(lost: Lost, *, write: bool) -> Outcome:
    if not lost.sent:
        return Outcome(Kind.UNAVAILABLE, "target.unreachable")
    return Outcome(Kind.UNKNOWN, "no.answer") if write else Outcome(Kind.UNAVAILABLE, "target.unavailable")
