"""The password as a type: it cannot be printed, copied into JSON or pickled by accident."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from typing import Any, NoReturn
from urllib.parse import unquote, unquote_plus


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
        """Whether the password occurs in ``text``: asked before foreign text is kept or shown.

        Also when it is coded for a URL, JSON, hexadecimal or base64, or hashed without salt: a target that
        echoes what it got, in an entity tag or a correlation id, may have coded it on the way.
        """
        if not self._text:
            return False
        if self._text in text or self._text in unquote_plus(text) or self._text in unquote(text):
            return True
        folded = text.casefold()
        return any(form in text for form in self._coded()) or any(form in folded for form in self._digits())

    def _coded(self) -> Iterator[str]:
        yield json.dumps(self._text)[1:-1]
        raw = self._text.encode("utf-8", "surrogatepass")
        for skip in range(3):  # base64 looks different at each alignment
            coded = base64.b64encode(bytes(skip) + raw).decode()[
                4 if skip else 0 : (len(raw) + skip) // 3 * 4
            ]
            if len(coded) >= 8:  # less occurs by chance
                yield coded
                yield coded.replace("+", "-").replace("/", "_")

    def _digits(self) -> Iterator[str]:
        raw = self._text.encode("utf-8", "surrogatepass")
        yield raw.hex()
        for name in ("md5", "sha1", "sha256", "sha512"):
            yield hashlib.new(name, raw, usedforsecurity=False).hexdigest()

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
