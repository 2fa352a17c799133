"""Windows FILETIME, the clock of Active Directory: 100 ns since 1601-01-01 UTC ([MS-DTYP] 2.3.3)."""

_TICKS = 10_000_000
_EPOCH = 11_644_473_600  # seconds from 1601 to 1970
_LAST = 253_402_300_800  # the year 10000, which RFC 3339 cannot write


def to_epoch(ticks: int) -> float | None:
    """Epoch seconds; None for 0 ("never", "must change"), for negative marks, and outside 1970 to 9999."""
    seconds, rest = divmod(ticks, _TICKS)
    at = seconds - _EPOCH
    return at + rest / _TICKS if 0 <= at < _LAST else None


def from_epoch(at: float) -> int:
    """The nearest FILETIME of epoch seconds, to the precision of a float (less than a microsecond)."""
    return round(at * _TICKS) + _EPOCH * _TICKS
