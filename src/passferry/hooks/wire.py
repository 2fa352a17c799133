"""One HTTP request to the gateway, bounded in all: names, connecting, TLS, sending, the whole answer.

No proxy, no redirect, no repeat; and ``http.client`` keeps no request, and so no password, on its exceptions.
"""

import http.client
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from passferry.client import Reply, connection_to, read_reply

MOST_BYTES = 262_144
"""Of an answer; more is not read."""


class Unreachable(Exception):
    """No usable answer came in time; the request may have arrived all the same. The text is safe to show."""


@dataclass(frozen=True, slots=True)
class Wire:
    """The way to one gateway. The key is not shown."""

    url: str  # that ``base_url`` let through
    key: str = field(repr=False)
    ca_file: Path | None = None

    def call(
        self,
        method: str,
        path: str,
        seconds: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """The answer to one request.

        Raises:
            Unreachable: none came within ``seconds``.
        """
        if seconds <= 0:
            raise Unreachable("there was no time left to ask")
        sent = {"Accept": "application/json", "Connection": "close", "Authorization": f"Bearer {self.key}"}
        found: list[Reply | str] = []

        def work() -> None:
            found.append(self._exchange(method, path, seconds, body, sent | dict(headers or {})))

        # In a thread: looking up a name has no time limit, and an answer could come a byte at a time.
        thread = threading.Thread(target=work, daemon=True)
        problem = ""
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads
            problem = "the request could not be sent: no thread could be started"
        if problem:
            raise Unreachable(problem)
        thread.join(seconds)
        if not found:
            raise Unreachable("no answer came in time")
        reply = found[0]
        if isinstance(reply, str):
            raise Unreachable(reply)
        return reply

    def _exchange(
        self, method: str, path: str, seconds: float, body: bytes | None, headers: Mapping[str, str]
    ) -> Reply | str:
        """The answer, or why there is none."""
        connection: http.client.HTTPConnection | None = None
        try:
            connection = connection_to(self.url, seconds, self.ca_file)
            connection.connect()
            connection.request(method, urlsplit(self.url).path + path, body, dict(headers))
            return read_reply(connection.getresponse(), MOST_BYTES)
        except TimeoutError:
            return "no answer came in time"
        except (OSError, http.client.HTTPException, ValueError) as error:
            return getattr(error, "strerror", None) or type(error).__name__
        finally:
            if connection is not None:
                connection.close()
