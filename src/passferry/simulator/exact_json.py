"""JSON that comes back as it went in: 5 stays 5, 5.0 stays 5.0, long integers keep every digit.

A provisioning client that reads a user and puts it back must not change it; a stand-in that rounded
numbers itself could not show that.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring
from typing import Any


class Number(float):
    """A JSON number with a fraction or exponent, together with the text it was written as."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Number:
        """Parse the text; raises ValueError when it is no number."""
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __deepcopy__(self, memo: object) -> Number:
        return self

    def __copy__(self) -> Number:
        return self

    def __reduce__(self) -> tuple[type[Number], tuple[str]]:
        return Number, (self.text,)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def loads(body: bytes) -> Any:
    """Parse UTF-8 JSON, keeping the text of every number. Raises ValueError for anything else."""
    try:
        return json.loads(body.decode("utf-8"), parse_float=Number, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dumps(value: Any) -> bytes:
    """Write JSON as UTF-8, numbers as they were read, members in their order."""
    out: list[str] = []
    _write(value, out.append)
    # A lone surrogate has no UTF-8 form; the handler writes exactly its JSON escape.
    return "".join(out).encode("utf-8", "backslashreplace")


def _write(value: Any, put: Any) -> None:
    if isinstance(value, str):
        put(encode_basestring(value))
    elif value is None or value is True or value is False:
        put("null" if value is None else "true" if value else "false")
    elif isinstance(value, Number):
        put(value.text)
    elif isinstance(value, dict):
        _write_object(value, put)
    elif isinstance(value, (list, tuple)):
        _write_array(value, put)
    else:
        put(json.dumps(value))


def _write_object(value: dict[str, Any], put: Any) -> None:
    separator = "{"
    for name, member in value.items():
        put(separator)
        put(encode_basestring(name))
        put(":")
        _write(member, put)
        separator = ","
    put("}" if value else "{}")


def _write_array(value: list[Any] | tuple[Any, ...], put: Any) -> None:
    separator = "["
    for member in value:
        put(separator)
        _write(member, put)
        separator = ","
    put("]" if value else "[]")
