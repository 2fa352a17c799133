"""A small HTTP client for the command line: one request, one bounded JSON answer, no proxy, no redirect.

``http.client`` starts faster than a full client and keeps no request, and so no password, on its exceptions.
"""

import http.client
import json
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import urlsplit

from passferry.client import Reply, connection_to, read_reply

MOST_BYTES = 4 * 1024 * 1024
"""Of an answer; more is not read."""


class Unreachable(Exception):
    """No usable answer came. ``sent``: the other side may have seen the request all the same."""

    def __init__(self, reason: str, *, sent: bool) -> None:
        super().__init__(reason)
        self.sent = sent


def call(
    method: str,
    url: str,
    *,
    key: str | None = None,
    json_body: Any = None,
    headers: Mapping[str, str] | None = None,
    timeout: float = 30.0,
) -> Reply:
    """Send one request and read its answer.

    Args:
        method: HTTP method.
        url: an address that ``base_url`` let through, with path and query.
        key: access key, sent as bearer token.
        json_body: sent as ``application/json`` when it is not None.
        headers: further headers.
        timeout: seconds for each of connecting, sending and reading.

    Raises:
        Unreachable: no answer; its text is safe to show.
    """
    with Line() as line:
        return line.call(method, url, key=key, json_body=json_body, headers=headers, timeout=timeout)


class Line:
    """A connection to one gateway that is kept for the next request, and made anew after a failure."""

    def __init__(self) -> None:
        self._connection: http.client.HTTPConnection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give up the connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def call(
        self,
        method: str,
        url: str,
        *,
        key: str | None = None,
        json_body: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30.0,
    ) -> Reply:
        """As ``call``; host and ``timeout`` are those of the first request."""
        parts = urlsplit(url)
        sent = {"Accept": "application/json", **(headers or {})}
        if key is not None:
            sent["Authorization"] = f"Bearer {key}"
        data = None
        if json_body is not None:
            data = json.dumps(json_body).encode()
            sent["Content-Type"] = "application/json"
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if self._connection is None:
            self._connection = connection_to(url, timeout)
        failure = _connect(self._connection) if self._connection.sock is None else None
        if failure is None:
            answer = _exchange(self._connection, method, path, data, sent)
            if isinstance(answer, Reply):
                return answer
            failure = Unreachable(answer, sent=True)
        self.close()
        raise failure


def _connect(connection: http.client.HTTPConnection) -> Unreachable | None:
    try:
        connection.connect()
    except OSError as error:  # the connection refused, a name unknown, a certificate not trusted
        return Unreachable(error.strerror or type(error).__name__, sent=False)
    return None


def _exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    data: bytes | None,
    headers: Mapping[str, str],
) -> Reply | str:
    try:
        connection.request(method, path, data, dict(headers))
        return read_reply(connection.getresponse(), MOST_BYTES)
    except (OSError, http.client.HTTPException) as error:
        return (
            "the connection broke before an answer came"
            if not isinstance(error, TimeoutError)
            else "no answer came in time"
        )
