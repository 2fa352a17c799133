"""The token endpoint: client credentials over HTTP Basic (RFC 6749 section 4.4), with Genesys's errors."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import random
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from passferry.simulator.settings import Accepted, Settings
from passferry.simulator.wire import Reply, Request


@dataclass(frozen=True, slots=True)
class Client:
    """An OAuth client, and the organization it belongs to."""

    id: str
    secret: str = field(repr=False)
    org: str = ""


@dataclass(slots=True)
class Token:
    """A live access token; times in epoch seconds."""

    value: str = field(repr=False)
    client: Client
    expires: float
    used: float


@dataclass(slots=True)
class TokenBook:
    """All clients and their live tokens."""

    clients: dict[str, Client]
    random: random.Random
    tokens: dict[str, Token] = field(default_factory=dict)

    def issue(self, client: Client, now: float, lifetime: float) -> Token:
        """A new token; those that have run out are forgotten on the way."""
        if len(self.tokens) > 1000:
            self.tokens = {key: token for key, token in self.tokens.items() if token.expires > now}
        token = Token(f"{self.random.getrandbits(384):096x}", client, now + lifetime, now)
        self.tokens[token.value] = token
        return token

    def check(self, value: str, now: float, settings: Settings) -> Token | None:
        """The live token of that value, None when there is none."""
        token = self.tokens.get(value)
        if token is None or token.client.id in settings.disabled_clients:
            return None
        idle = settings.token_idle_seconds
        if now >= token.expires or (idle and now >= token.used + idle):
            del self.tokens[value]
            return None
        return token

    def revoke(self, value: str) -> None:
        """End a token before its time."""
        self.tokens.pop(value, None)


def error(status: int, name: str, description: str) -> Reply:
    """An error of the token endpoint; the description is doubled, as seen on the wire."""
    body = {"error": name, "description": description, "error_description": description}
    return Reply(status, (("Content-Type", "application/json"),), json.dumps(body).encode())


def throttled() -> Reply:
    """How the token endpoint says that it is asked too often."""
    return error(400, "invalid_request", "rate limit exceeded; too many token requests, try again later")


def token_reply(request: Request, book: TokenBook, now: float, settings: Settings) -> Reply:
    """Answer POST /oauth/token."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    form = parse_qs(request.body.decode("latin-1"), keep_blank_values=True)
    if kind != "application/x-www-form-urlencoded" or "grant_type" not in form:
        return error(400, "invalid_request", "grant_type is missing")
    if form["grant_type"] != ["client_credentials"]:
        return error(400, "unsupported_grant_type", "grant type is not supported for this client")
    client = _client(request.headers.get("authorization", ""), book, settings)
    if isinstance(client, str):
        return error(settings.invalid_client_status, "invalid_client", client)
    if "scope" in form and settings.unknown_scope is Accepted.REFUSED:
        return error(400, "invalid_scope", "scope is not known")
    token = book.issue(client, now, settings.token_lifetime)
    body = {
        "access_token": token.value,
        "token_type": settings.token_type,
        "expires_in": settings.token_lifetime,
    }
    headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
    return Reply(200, headers, json.dumps(body).encode())


def _client(header: str, book: TokenBook, settings: Settings) -> Client | str:
    """The client that proved itself, or the description of what was wrong."""
    scheme, _, encoded = header.partition(" ")
    try:
        name, colon, secret = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "client not found"
    client = book.clients.get(name) if scheme.lower() == "basic" and colon else None
    if client is None:
        return "client not found"
    if client.id in settings.disabled_clients or not hmac.compare_digest(
        client.secret.encode(), secret.encode()
    ):
        return "authentication failed"
    return client
