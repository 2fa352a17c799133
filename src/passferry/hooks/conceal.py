"""Hides what a source put where others can look: the arguments and the environment of this process."""

import os
import resource
from contextlib import suppress
from pathlib import Path

_ARGUMENTS, _ENVIRONMENT = 48, 50
"""Fields of /proc/PID/stat with the addresses where each begins; the next one has the end (proc(5))."""
_PR_SET_DUMPABLE = 4


def conceal() -> None:
    """No core dump of this process, and no look into it for others of the same user (prctl(2))."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def wipe_arguments(after: str) -> None:
    """Overwrite what `ps` shows of the arguments behind the one that is ``after``."""
    place = _place(_ARGUMENTS)
    if place is not None:
        start, content = place
        mark = b"\0" + os.fsencode(after) + b"\0"
        at = content.find(mark)
        if at >= 0:
            _zero(start + at + len(mark), len(content) - at - len(mark))


def taken_from_environment(*names: str) -> list[str | None]:
    """The values of variables, which are then gone: from ``os.environ`` and from /proc/PID/environ."""
    place = _place(_ENVIRONMENT)
    for name in names if place is not None else ():
        assert place is not None  # noqa: S101  # said above
        start, content = place
        mark = b"\0" + os.fsencode(name) + b"="
        at = (b"\0" + content).find(mark)
        if at >= 0:
            begin = at + len(mark) - 1
            _zero(start + begin, content.find(b"\0", begin) - begin)
    return [os.environ.pop(name, None) for name in names]


def _place(field: int) -> tuple[int, bytes] | None:
    """Where the kernel finds it in our memory, and what is there; None where that cannot be known."""
    try:
        import ctypes

        after_name = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        start, end = (int(after_name[number - 3]) for number in (field, field + 1))
    except (OSError, ValueError, IndexError, ImportError):
        return None
    return (start, ctypes.string_at(start, end - start)) if 0 < start < end else None


def _zero(start: int, length: int) -> None:
    if length > 0:
        import ctypes

        ctypes.memset(start, 0, length)
