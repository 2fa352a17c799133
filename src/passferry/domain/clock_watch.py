"""Whether the wall clock was set to another time, by comparison with the monotonic one."""

STEP = 5.0
"""Seconds at a time that count as set; less is drift, or a clock that is led back gently."""


class ClockWatch:
    """Looked at now and then, by whoever keeps dates by the wall clock."""

    def __init__(self, now: float, mono: float) -> None:
        self._offset = now - mono

    def set_back(self, now: float, mono: float) -> float:
        """Seconds by which the clock was set back since it was last ``noted``; 0.0 for up to ``STEP``."""
        by = self._offset - (now - mono)
        return by if by > STEP else 0.0

    def note(self, now: float, mono: float) -> None:
        """What is kept by the clock goes by this time now."""
        self._offset = now - mono
