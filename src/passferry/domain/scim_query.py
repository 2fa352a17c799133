"""What a SCIM client asks for in a query (RFC 7644 §3.4.2): pure, and never about a password."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

from passferry.domain.scim import USER_SCHEMA, NotScim, members, text_of, value_of
from passferry.domain.scim_split import BadScim

_EQUALS = re.compile(r"\s*(\S+)\s+eq\s+(\S.*?)\s*", re.IGNORECASE | re.DOTALL)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BARE = re.compile(r"[^\s\"'`()\[\]{}<>\\,;\x00-\x1f\x7f]+")
_NUMBER = re.compile(r"[+-]?[0-9]{1,9}")
_LONGEST_FILTER = 2048
_CORE = re.compile(r"^urn:ietf:params:scim:schemas:core:2\.0:[a-z]+:")
_ALIASES = {"email": "emails"}
"""What Genesys Cloud calls otherwise in filters (developer.genesys.cloud/platform/scim)."""
_PREFIX = USER_SCHEMA.casefold() + ":"


@dataclass(frozen=True, slots=True)
class Equals:
    """The filter `attribute eq "value"`."""

    attribute: str  # as it came
    value: str
    literal: bool = False  # true or false, which have no quotes

    @property
    def name(self) -> str:
        """The attribute without the core schema, in lower case."""
        return _CORE.sub("", self.attribute.casefold())

    @property
    def shown(self) -> str:
        """The attribute that must be shown, so that it can be compared."""
        schema, colon, path = self.attribute.rpartition(":")
        top = path.partition(".")[0]
        return f"{schema}{colon}{_ALIASES.get(top.casefold(), top)}"


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
    if match is None:
        return text
    if match[2].casefold() in ("true", "false"):
        return Equals(match[1], match[2].casefold(), literal=True)
    value = _value(match[2])
    return Equals(match[1], value) if value is not None else text


def _value(text: str) -> str | None:
    """The text of a compared value, which RFC 7644 writes as JSON and some clients without quotes."""
    if _QUOTED.fullmatch(text):
        try:
            return text_of(value_of(text))
        except NotScim:
            return None
    plain = _BARE.fullmatch(text) is not None and text.casefold() != "null"
    return text if plain else None


def meets(item: str, wanted: Equals) -> bool | None:
    """Whether a resource found by ``wanted`` is one: a filter that is not honoured must not link accounts.

    External ids are compared exactly, everything else in any letter case. None when it does not show the
    attribute. Raises ``NotScim``.
    """
    schema, _, path = wanted.name.rpartition(":")
    user = {name: value_of(value) for name, value in members(item)}
    found: list[Any] = [user]
    for step in ([schema] if schema else []) + _ALIASES.get(path, path).split("."):
        found = _below(found, step)
        if not found and not schema:  # of an extension, whose name may be left out
            found = _below(
                [value for name, value in user.items() if name.casefold().startswith("urn:")], step
            )
    texts = [text for value in found for text in _texts(value)]
    if not texts:
        return None
    if wanted.name == "externalid":
        return wanted.value in texts
    return wanted.value.casefold() in [text.casefold() for text in texts]


def _below(values: Sequence[Any], step: str) -> list[Any]:
    """What the objects of ``values`` have under the name ``step``, each value of several for itself."""
    found = [
        value
        for one in values
        if isinstance(one, dict)
        for name, value in one.items()
        if name.casefold() == step
    ]
    return [each for value in found for each in (value if isinstance(value, list) else [value])]


def _texts(value: Any) -> list[str]:
    """What is compared of a value: of one with parts, its `value` (RFC 7643 §2.4)."""
    values = _below([value], "value") if isinstance(value, dict) else [value]
    texts = ["true" if each is True else "false" if each is False else each for each in values]
    return [text for text in texts if isinstance(text, str)]
