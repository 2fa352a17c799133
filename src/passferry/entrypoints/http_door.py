"""The way in: open until the process is to end, and then it tells when everybody inside has left."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress


class Door:
    """Counts the requests that are being answered."""

    def __init__(self) -> None:
        self.closed = False
        self._inside = 0
        self._empty = asyncio.Event()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """One request is inside until the block ends."""
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self._empty.set()

    async def close(self, seconds: float) -> None:
        """Let no more in; return when the last is out, or after ``seconds``."""
        self.closed = True
        if not self._inside:
            return
        self._empty.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._empty.wait()
