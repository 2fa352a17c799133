"""A user as PUT brings it to the target: as it is there, with what a client sent in place of its own. Pure.

A client sends what it maps. A target may clear what a PUT leaves out (RFC 7644 §3.5.1), so what nobody
mapped, roles, queues, phones, would be lost with every push. As in ``domain.scim``, texts are carried over.
"""

from passferry.domain.scim import NOT_WRITTEN_BACK, USER_SCHEMA, elements, members, text_of, value_of
from passferry.domain.scim_split import BadScim, joined

_USER = USER_SCHEMA.casefold()

_Members = list[tuple[str, str]]


def overlay(there: str, sent: str) -> str:
    """The user ``there`` with the members of ``sent`` in place of those that have the same name.

    Within an extension, whose name is a URN, it is done member by member; `schemas` has what either has.
    Whatever else was sent is taken as it is: lists and complex attributes whole, and null or an empty list
    to clear. Read-only members are in neither (see ``NOT_WRITTEN_BACK``).

    Raises ``NotScim``, and ``BadScim`` when ``sent`` has an attribute twice.
    """
    kept, new = _writable(members(there)), _writable(_flat(members(sent)))
    return joined(_over(kept, new))


def _writable(found: _Members) -> _Members:
    return [(name, text) for name, text in found if name.casefold() not in NOT_WRITTEN_BACK]


def _flat(found: _Members) -> _Members:
    """The members, those below the name of the user's own schema among them."""
    flat: _Members = []
    for name, text in found:
        own = name.casefold() == _USER and text.startswith("{")
        flat += members(text) if own else [(name, text)]
    if len({name.casefold() for name, _ in flat}) != len(flat):
        raise BadScim("invalidSyntax", "an attribute occurs more than once")
    return flat


def _over(old: _Members, new: _Members) -> _Members:
    given = {name.casefold(): text for name, text in new}
    known = {name.casefold() for name, _ in old}
    kept = [(name, _one(name.casefold(), text, given.get(name.casefold()))) for name, text in old]
    return kept + [(name, text) for name, text in new if name.casefold() not in known]


def _one(name: str, old: str, new: str | None) -> str:
    """The value of a member that was ``old`` and for which ``new`` was sent."""
    if new is None:
        return old
    if name == "schemas" and old.startswith("[") and new.startswith("["):
        return _either(old, new)
    if name.startswith("urn:") and old.startswith("{") and new.startswith("{"):
        return joined(_over(members(old), members(new)))
    return new


def _either(old: str, new: str) -> str:
    """The list ``old`` with what ``new`` has more."""
    there = {_folded(each) for each in elements(old)}
    return (
        "["
        + ",".join([*elements(old), *(each for each in elements(new) if _folded(each) not in there)])
        + "]"
    )


def _folded(text: str) -> str:
    return (text_of(value_of(text)) or text).casefold()
