"""The password as a type: it cannot be printed, copied into JSON or pickled by accident."""

import hmac
from typing import Any, NoReturn


class Password:
    """A cleartext password, exactly as it was received.

    ``reveal`` is the only way to the text; a test lists the modules that may call it. Everything else
    masks it or refuses, so that no log line, traceback or serializer can carry it.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        """Wrap ``text``; nothing is trimmed or normalized."""
        self._text = text

    def reveal(self) -> str:
        """The cleartext. Call it only where the text leaves the process or is sealed."""
        return self._text

    def same_as(self, other: "Password") -> bool:
        """Whether both hold the same text, in time that does not depend on where they differ."""
        return hmac.compare_digest(
            self._text.encode("utf-8", "surrogatepass"), other._text.encode("utf-8", "surrogatepass")
        )

    def within(self, text: str) -> bool:
        """Whether the password occurs in ``text``: asked before foreign text is kept or shown."""
        return bool(self._text) and self._text in text

    def __repr__(self) -> str:
        return "Password(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        """Refused: ``==`` would compare carelessly; use ``same_as``."""
        raise TypeError("compare passwords with same_as()")

    __hash__ = None  # type: ignore[assignment]  # a hash of a password is a secret too

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a password is never pickled or copied")
