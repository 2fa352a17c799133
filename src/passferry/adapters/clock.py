"""The machine's clock."""

import time


class SystemClock:
    """Wall clock and monotonic clock of this machine; waiting is the event loop's."""

    def now(self) -> float:
        """Epoch seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return time.monotonic()
