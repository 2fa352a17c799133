"""What a SCIM client asks for in a query (RFC 7644 §3.4.2): pure, and never about a password."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

from passferry.domain.scim import USER_SCHEMA, NotScim, members, text_of, value_of
from passferry.domain.scim_split import BadScim

_EQUALS = re.compile(r"\s*(\S+)\s+eq\s+(\S.*?)\s*", re.IGNORECASE | re.DOTALL)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BARE = re.compile(r"[^\s\"'`()\[\]{}<>\\,;\x00-\x1f\x7f]+")
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")
_LONGEST_FILTER = 2048
_PREFIX = USER_SCHEMA.casefold() + ":"


@dataclass(frozen=True, slots=True)
class Equals:
    """The filter `attribute eq "value"`."""

    attribute: str  # as it came
    value: str

    @property
    def name(self) -> str:
        """The attribute without its schema, in lower case."""
        return self.attribute.casefold().removeprefix(_PREFIX)


@dataclass(frozen=True, slots=True)
class Query:
    """``filter`` is a comparison that was understood, or text for the target to understand."""

    filter: Equals | str | None = None
    start: int = 1
    count: int | None = None
    attributes: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()

    def showing(self, name: str) -> "Query":
        """The same, but the attribute ``name`` is shown."""
        excluded = tuple(
            each for each in self.excluded if each.casefold().removeprefix(_PREFIX) != name.casefold()
        )
        attributes = (*self.attributes, name) if self.attributes else ()
        return replace(self, attributes=attributes, excluded=excluded)


def query(raw: bytes) -> Query:
    """The query string of a request. Parameters that SCIM does not have are left out. Raises ``BadScim``."""
    found: dict[str, list[str]] = {}
    for name, value in _pairs(raw):
        found.setdefault(name.casefold(), []).append(value)
    text = found.get("filter", [""])[-1]
    count = _number(found, "count")
    start = _number(found, "startindex")
    return Query(
        filter=_filter(text) if text.strip() else None,
        start=max(1, start if start is not None else 1),
        count=None if count is None else max(0, count),
        attributes=_names(found.get("attributes", [])) or (("id",) if "attributes" in found else ()),
        excluded=_names(found.get("excludedattributes", [])),
    )


def _pairs(raw: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(raw.decode("ascii"), errors="strict", max_num_fields=50)
    except ValueError:
        pass
    raise BadScim("invalidValue", "the query cannot be understood")


def _number(found: dict[str, list[str]], name: str) -> int | None:
    if name not in found:
        return None
    if not _NUMBER.fullmatch(found[name][-1].strip()):
        raise BadScim("invalidValue", "startIndex and count must be integers")
    return int(found[name][-1])


def _names(values: Sequence[str]) -> tuple[str, ...]:
    """Names of attributes, separated by commas or repeated; a password is never shown, so never asked for."""
    names = [name.strip() for value in values for name in value.split(",")]
    return tuple(name for name in names if name and not name.casefold().endswith("password"))


def _filter(text: str) -> Equals | str:
    if len(text) > _LONGEST_FILTER:
        raise BadScim("invalidFilter", "the filter is too long")
    if "password" in _QUOTED.sub('""', text).casefold():
        raise BadScim("invalidFilter", "there is no filter by password")
    match = _EQUALS.fullmatch(text)
    value = _value(match[2]) if match is not None else None
    return Equals(match[1], value) if match is not None and value is not None else text


def _value(text: str) -> str | None:
    """The text of a compared value, which RFC 7644 writes as JSON and some clients without quotes."""
    if _QUOTED.fullmatch(text):
        try:
            return text_of(value_of(text))
        except NotScim:
            return None
    plain = _BARE.fullmatch(text) is not None and text.casefold() not in ("true", "false", "null")
    return text if plain else None


def meets(item: str, wanted: Equals) -> bool | None:
    """Whether a user found by ``wanted`` is one: a filter that is not honoured must not link accounts.

    None when the user does not show it. Only names and external ids are looked at; by anything else the
    target is believed. Raises ``NotScim``.
    """
    if wanted.name not in ("username", "externalid"):
        return True
    named = {name.casefold(): value for name, value in members(item)}
    found = text_of(value_of(named.get(wanted.name, "null")))
    if found is None:
        return None
    return (
        found == wanted.value if wanted.name == "externalid" else found.casefold() == wanted.value.casefold()
    )
