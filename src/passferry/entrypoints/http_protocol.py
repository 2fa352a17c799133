"""One connection: uvicorn's HTTP/1.1, with bounds on what comes before anybody has proved who they are."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 20.0
"""Until the head of a request is complete: from the connection, else from the first byte after an answer."""
MOST_HEAD = 64 * 1024
"""Bytes of a head, to the size of one read; parser and protocol themselves have no limit."""

_NOT_HTTP = b'{"success":false,"message":"the request is not valid HTTP","code":"http.invalid"}'
_TOO_LARGE = (
    b'{"success":false,"message":"the head of the request is too large","code":"http.head.too.large"}'
)


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 whose errors have the body that every other error has."""

    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See ``asyncio.Protocol``."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """See ``asyncio.Protocol``."""
        self._head_is_in()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See ``asyncio.Protocol``."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._head_timer is None:
            if not self.transport.is_closing() and self.cycle.response_complete:
                # The rest of a body that nobody read, or an empty line: it ended the wait for the next
                # request, so the head of that is due now.
                self._expect_head()
            return
        self._head_bytes += len(data)
        if self._head_bytes > MOST_HEAD and not self.transport.is_closing():
            self._refuse(b"431 Request Header Fields Too Large", _TOO_LARGE)

    def on_message_begin(self) -> None:
        """The parser saw a request's first byte."""
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        """The parser saw the end of a request's head."""
        self._head_is_in()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP; ``msg`` is uvicorn's word for it, and not told."""
        self._refuse(b"400 Bad Request", _NOT_HTTP)

    def _expect_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _head_is_in(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: bytes, body: bytes) -> None:
        lines = [name + b": " + value for name, value in self.server_state.default_headers]
        lines += [
            b"content-type: application/json",
            b"cache-control: no-store",
            b"connection: close",
            b"content-length: " + str(len(body)).encode(),
        ]
        self.transport.write(b"\r\n".join([b"HTTP/1.1 " + status, *lines, b"", body]))
        self.transport.close()
