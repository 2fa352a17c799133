"""``passferry push``: one change to a running gateway."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn
from urllib.parse import quote

import typer

from passferry.entrypoints.cli_io import Code, fail, print_json, read_password

if TYPE_CHECKING:
    from passferry.client import Reply
    from passferry.domain.password import Password

DEFAULT_URL = "http://127.0.0.1:8080"
TRIES = 3
"""How often a request that got no answer is sent, always under the same Idempotency-Key."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where to send, and with which key. The key is not shown."""

    url: str
    key: str

    def __repr__(self) -> str:
        return f"Gateway({self.url!r})"


def push(
    user: Annotated[
        str, typer.Argument(metavar="USER", help="The target's id of the user, or an email (its userName).")
    ],
    org: Annotated[str | None, typer.Option(help="Org; else `default`, or the key's only org.")] = None,
    wait: Annotated[
        int, typer.Option(min=0, max=15, metavar="SECONDS", help="How long to wait for the delivery.")
    ] = 15,
    at_once: Annotated[bool, typer.Option("--async", help="Do not wait for the delivery.")] = False,
    changed_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="When the user chose it (RFC 3339).")
    ] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(metavar="KEY", help="Names this change; sent again, it is the same change.")
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Read it from here; no one else may read the file.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The gateway's answer as JSON.")] = False,
) -> None:
    """Send one new password to a running gateway.

    The gateway is PASSFERRY_URL (default http://127.0.0.1:8080), the access key PASSFERRY_API_KEY or the file
    named by PASSFERRY_API_KEY_FILE. The password comes from a prompt, standard input, or --password-file.

    Exit codes: 0 applied, 4 accepted and not delivered yet, 1 refused, 2 usage, 3 not reachable or too busy.
    """
    gateway = configured(os.environ)
    name = idempotency_key or _fresh_key()
    password = read_password(password_file, confirm=True)
    answer = _send(gateway, user, org, password, changed_at, name, None if at_once else wait)
    if as_json and answer.body:
        print_json(answer.body)
    _report(answer, name, quiet=as_json)


def configured(env: "os._Environ[str] | dict[str, str]") -> Gateway:
    """The gateway that ``env`` names; ends the command when that is no address or there is no key."""
    from passferry.client import base_url

    url = base_url(env.get("PASSFERRY_URL") or DEFAULT_URL)
    if url is None:
        fail(
            "PASSFERRY_URL is not an address that a password may be sent to",
            "use https://HOST[:PORT], or http:// on this machine (127.0.0.1, localhost)",
            Code.USAGE,
        )
    return Gateway(url, _key(env))


def _key(env: "os._Environ[str] | dict[str, str]") -> str:
    key = env.get("PASSFERRY_API_KEY", "")
    if not key and (file := env.get("PASSFERRY_API_KEY_FILE")):
        try:
            key = Path(file).read_text(encoding="ascii")
        except (OSError, ValueError):
            fail(f"cannot read the access key in {file}", "it holds one line of ASCII", Code.USAGE)
    key = key.strip()
    if not key:
        fail(
            "there is no access key",
            "set PASSFERRY_API_KEY or PASSFERRY_API_KEY_FILE; `passferry access add NAME` makes a key",
            Code.USAGE,
        )
    if not (key.isascii() and key.isprintable() and " " not in key):
        fail("the access key is not one", "it looks like pf_ID_SECRET", Code.USAGE)
    return key


def _fresh_key() -> str:
    import uuid

    return str(uuid.uuid4())


def _send(
    gateway: Gateway,
    user: str,
    org: str | None,
    password: "Password",
    changed_at: str | None,
    name: str,
    wait: int | None,
) -> "Reply":
    from passferry.entrypoints.cli_http import Unreachable, call

    if not (0 < len(name) <= 255 and name.isascii() and name.isprintable() and " " not in name):
        fail("the Idempotency-Key is not one", "1 to 255 visible ASCII characters", Code.USAGE)
    path = "/sync/password" if org is None else f"/orgs/{quote(org, safe='')}/sync/password"
    body = {"userId": user, "password": password.reveal()}
    if changed_at is not None:
        body["changedAt"] = changed_at
    headers = {
        "Idempotency-Key": name,
        "Prefer": "respond-async" if wait is None else f"wait={wait}",
    }
    tried = 0
    while True:
        try:
            return call(
                "POST",
                gateway.url + path,
                key=gateway.key,
                json_body=body,
                headers=headers,
                timeout=10 + (wait or 0),
            )
        except Unreachable as error:
            reason, sent = str(error), error.sent
        tried += 1
        if tried == TRIES or (tried == 1 and not sent):
            _unreachable(gateway, reason, name, sent or tried > 1)
        time.sleep(tried)


def _unreachable(gateway: Gateway, reason: str, name: str, sent: bool) -> NoReturn:
    hint = "is `passferry serve` running there? PASSFERRY_URL names another gateway"
    if sent:
        hint = f"it may have been accepted: send it again with --idempotency-key {name}"
    fail(f"no answer from {gateway.url}: {reason}", hint, Code.UNREACHABLE)


def _report(answer: "Reply", name: str, *, quiet: bool) -> NoReturn:
    """Say what the answer means, and end with its exit code."""
    body = answer.body
    message = str(body.get("message") or f"status {answer.status} without an explanation")
    change = body.get("changeId")
    if answer.status in (200, 202):
        if not quiet:
            print(f"{message} (change {change})")
        raise typer.Exit(Code.DONE if answer.status == 200 else Code.PENDING)
    code = Code.FAILED
    hint = HINTS.get(answer.status, "")
    if answer.status == 429 or (answer.status >= 500 and not change):
        code = Code.UNREACHABLE
        after = answer.headers.get("retry-after")
        hint = f"send it again{f' after {after} s' if after else ''} with --idempotency-key {name}"
    elif change:
        hint = f"`passferry changes show {change}` says more, on the gateway's machine"
    reasons = body.get("errors")
    if not quiet and isinstance(reasons, list):
        message = "\n  - ".join([message, *(_reason(reason) for reason in reasons)])
    elif body.get("code"):
        message = f"{message} ({body['code']})"
    fail(message, hint, code)


def _reason(reason: object) -> str:
    if isinstance(reason, dict):
        return f"{reason.get('message', '')} ({reason.get('code', '')})"
    return str(reason)


HINTS = {
    401: "the access key is wrong or revoked; `passferry access list` shows the keys",
    403: "this key may not write to that org, or there is no such org",
    404: "PASSFERRY_URL may point at something that is not Passferry",
    409: "the user has a newer password already",
}
"""What to do about a status, where the message alone does not say."""
