"""The audit trail's chain."""

from dataclasses import fields, replace
from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry.domain.audit import GENESIS, Head, Record, encode, link, safe_code, safe_id, verify_link

KEY = b"k" * 32
Link = tuple[Record, bytes]

texts = st.none() | st.text(max_size=12)
records = st.builds(
    Record,
    st.sampled_from(["accepted", "attempt", "outcome"]),
    st.floats(0, 2e9),
    st.text(max_size=12),
    change_id=texts,
    user=texts,
    state=texts,
    code=texts,
    attempt=st.none() | st.integers(0, 1000),
    version=texts,
    other=texts,
)
chains = st.lists(records, min_size=2, max_size=8)


def chain(found: list[Record], org: str = "default") -> list[Link]:
    """``found`` as links."""
    links: list[Link] = []
    previous = GENESIS
    for seq, record in enumerate(found, 1):
        previous = link(KEY, previous, org, seq, record)
        links.append((record, previous))
    return links


def holds(links: list[Link], head: Head, org: str = "default") -> bool:
    """Whether ``links`` are a whole chain that ends in ``head``."""
    previous = GENESIS
    for seq, (record, mac) in enumerate(links, 1):
        if not verify_link(KEY, previous, org, seq, record, mac):
            return False
        previous = mac
    return head == Head(len(links), previous)


def head_of(links: list[Link]) -> Head:
    """The newest link."""
    return Head(len(links), links[-1][1])


@given(chains)
def test_an_untouched_chain_holds(found: list[Record]) -> None:
    """Every link verifies, and the last one is the head."""
    links = chain(found)
    assert holds(links, head_of(links))


@given(chains, st.data())
def test_an_altered_field_is_found(found: list[Record], data: st.DataObject) -> None:
    """Any other value in any field of any record breaks the chain."""
    links = chain(found)
    at = data.draw(st.integers(0, len(links) - 1))
    record, mac = links[at]
    name = data.draw(st.sampled_from([field.name for field in fields(Record)]))
    old = getattr(record, name)
    new = old + 1 if isinstance(old, int) else old + 1.5 if isinstance(old, float) else f"{old}x"
    altered: dict[str, Any] = {name: new}
    changed = [*links[:at], (replace(record, **altered), mac), *links[at + 1 :]]
    assert not holds(changed, head_of(links))


@given(chains, st.data())
def test_removing_reordering_and_shortening_are_found(found: list[Record], data: st.DataObject) -> None:
    """A record that is gone, from the middle or the end, or in another place breaks the chain."""
    links = chain(found)
    at = data.draw(st.integers(0, len(links) - 1))
    assert not holds(links[:at] + links[at + 1 :], head_of(links))
    assert not holds(links[:at], head_of(links))
    other = data.draw(st.integers(0, len(links) - 1).filter(lambda n: n != at))
    swapped = list(links)
    swapped[at], swapped[other] = links[other], links[at]
    assert not holds(swapped, head_of(links))


@given(chains)
def test_a_chain_belongs_to_its_org_and_key(found: list[Record]) -> None:
    """The records of one org are none of another's, and nobody makes links without the key."""
    links = chain(found)
    assert not holds(links, head_of(links), org="other")
    assert not verify_link(b"x" * 32, GENESIS, "default", 1, found[0], links[0][1])


@given(chains, records)
def test_a_link_of_another_history_does_not_fit(found: list[Record], other: Record) -> None:
    """Two pasts cannot be mixed: a link covers all that came before it, not its own record alone."""
    links, forked = chain(found), chain([other, *found[1:]])
    if other != found[0]:
        assert not holds([links[0], *forked[1:]], head_of(forked))


@given(records, records)
def test_two_records_never_have_the_same_bytes(one: Record, two: Record) -> None:
    """What the MAC covers tells any two records, places and orgs apart."""
    assert (encode("a", 1, one) == encode("a", 1, two)) == (one == two)
    assert len({encode("a", 1, one), encode("a", 11, one), encode("b", 1, one)}) == 3


def test_no_field_of_a_record_is_made_for_a_secret() -> None:
    """A record is exactly these fields, all short texts and numbers; a new one must be thought about here."""
    assert {name: str(kind) for name, kind in get_type_hints(Record).items()} == {
        "kind": "<class 'str'>",
        "at": "<class 'float'>",
        "actor": "<class 'str'>",
        "change_id": "str | None",
        "user": "str | None",
        "state": "str | None",
        "code": "str | None",
        "evidence": "str | None",
        "attempt": "int | None",
        "version": "str | None",
        "correlation_id": "str | None",
        "other": "str | None",
    }


@pytest.mark.parametrize(
    "text", ["Correct-Horse-9", "pass word", "a" * 65, "", "4e", "x=1", "$argon2id$v=19", "ünsafe", "a\n"]
)
def test_foreign_text_does_not_pass_for_a_code(text: str) -> None:
    """Digits, spaces, signs and long texts are no code: a password of the default policy never is one."""
    assert safe_code(text) is None
    assert safe_code("password.too.short") == "password.too.short"
    assert safe_code(None) is None


@pytest.mark.parametrize("text", ["Correct-Horse-9!", "a b", "x" * 65, "", "a\n", "$argon2id$"])
def test_foreign_text_does_not_pass_for_an_id(text: str) -> None:
    """Only letters, digits and hyphens, at most 64, are an id."""
    assert safe_id(text) is None
    assert safe_id("3f2a-77") == "3f2a-77"


def test_a_head_reads_as_the_command_takes_it() -> None:
    """``SEQ:MAC``, the MAC in hexadecimal digits."""
    assert str(Head(7, b"\x01\xff")) == "7:01ff"
