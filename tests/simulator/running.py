"""A simulator behind a real socket, on a thread of its own, for blocking clients."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from passferry.simulator import Simulator, serve


@contextmanager
def running(simulator: Simulator) -> Iterator[str]:
    """Serve on a free loopback port; gives the base URL."""
    ready = threading.Event()
    box: dict[str, object] = {}

    async def main() -> None:
        stop = asyncio.Event()
        async with await serve(simulator) as server:
            box.update(url=server.url, stop=stop, loop=asyncio.get_running_loop())
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(main()), daemon=True)
    thread.start()
    assert ready.wait(10)
    loop, stop = box["loop"], box["stop"]
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert isinstance(stop, asyncio.Event)
    try:
        yield str(box["url"])
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        assert not thread.is_alive()
