"""The letter: its format, and that it tells nothing to who does not hold the private key."""

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry import hand_over
from passferry.domain.password import Password
from passferry.hand_over import BLOCK, Letter, key_id, key_id_of, opened, public_of, seal

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "sealed-format.md"
PRIVATE = bytes(range(64, 96))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


def test_the_documented_letter_opens() -> None:
    """The vector of the format's page: the same public key, and the same plaintext."""
    (block,) = re.findall(r"```letter\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)
    vector = dict(line.split(": ", 1) for line in block.splitlines())
    assert public_of(PRIVATE).hex() == vector["public"]
    letter = Letter(
        "jane@example.com", Password("Correct-Horse-7"), "2026-11-24T09:30:00.120Z", "0b6f", "emea"
    )
    assert letter.plaintext().hex() == vector["plaintext"]
    plaintext = opened(PRIVATE, bytes.fromhex(vector["letter"]))
    assert plaintext is not None
    assert plaintext.hex() == vector["plaintext"]


@given(TEXTS, TEXTS)
def test_a_letter_comes_back_as_it_was_written(user: str, password: str) -> None:
    """Whatever the texts, the JSON inside holds them exactly, in whole blocks."""
    letter = Letter(user, Password(password), "2026-11-24T09:30:00Z", "key", None)
    sealed = seal(public_of(PRIVATE), letter.plaintext())
    plaintext = opened(PRIVATE, sealed)
    assert plaintext is not None
    assert len(plaintext) % BLOCK == 0
    assert json.loads(plaintext)["body"] == {
        "userId": user,
        "password": password,
        "changedAt": "2026-11-24T09:30:00Z",
    }
    assert key_id_of(sealed) == key_id(public_of(PRIVATE))


@given(st.binary(max_size=400))
def test_any_bytes_are_a_letter_or_are_not(data: bytes) -> None:
    """Invariant of this fuzz: whatever comes, the answer is None; nothing is raised."""
    key_id_of(data)
    assert opened(PRIVATE, data) is None


def test_a_letter_of_one_password_tells_only_the_block() -> None:
    """One character and a hundred look the same in length, and no two letters are alike."""
    short, long = (Letter("u", Password("x" * n), "2026-11-24T09:30:00Z", "k").plaintext() for n in (1, 100))
    assert len(short) == len(long)
    assert seal(public_of(PRIVATE), short) != seal(public_of(PRIVATE), short)


@pytest.mark.parametrize("public", [b"", bytes(31), bytes(33)])
def test_bytes_that_are_no_public_key_are_refused(public: bytes) -> None:
    """A wrong length is an error before anything is sealed."""
    with pytest.raises(ValueError, match="key"):
        seal(public, b"x")


def test_a_letter_does_not_open_under_another_key_id() -> None:
    """The header is bound to what follows it."""
    sealed = seal(public_of(PRIVATE), b"x")
    assert opened(PRIVATE, sealed[:1] + bytes(8) + sealed[9:]) is None


def test_nothing_of_the_password_shows_in_a_letter() -> None:
    """`repr` masks it."""
    assert "geheim" not in repr(hand_over.Letter("u", Password("geheim"), "t", "k"))
