"""An event loop whose time moves only when nothing is left to do at this moment."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = 1_790_000_000.0


class NothingCanHappen(Exception):
    """Everybody waits, and no timer is set: a deadlock."""


class _Selector(selectors.SelectSelector):
    """Real events are looked for without waiting; without any, the time until the next timer has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise NothingCanHappen
            self.time += max(timeout, 0.0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """Hours pass in milliseconds; what happens at the same time happens in the order it was asked for."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.time


class VirtualClock:
    """The port ``Clock`` over the running virtual loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.wrong_by = 0.0  # seconds; tests set the clock

    def now(self) -> float:
        """Epoch seconds."""
        return self.true() + self.wrong_by

    def true(self) -> float:
        """Epoch seconds by everybody else's clock."""
        return EPOCH + self._loop.time()

    def monotonic(self) -> float:
        """The loop's time."""
        return self._loop.time()


def run(main: Coroutine[Any, Any, T]) -> T:
    """The result of ``main``, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
