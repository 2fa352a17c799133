"""The policy: every broken rule is named, and nothing of the password comes out."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry.domain import policy
from passferry.domain.messages import MESSAGES
from passferry.domain.password import Password
from passferry.domain.policy import LONGEST, SPECIALS, Rules, Violation, check

NONE = Rules(
    minimum_length=0,
    minimum_lower=0,
    minimum_upper=0,
    minimum_digits=0,
    minimum_specials=0,
    maximum_length=LONGEST,
)
ANY_TEXT = st.text(st.characters(codec=None, categories=None), max_size=40)  # lone surrogates too


def codes(text: str, user: str | None = None, rules: Rules | None = None) -> list[str]:
    """The codes of the broken rules."""
    return [violation.code for violation in check(Password(text), user, rules or Rules())]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Abcdef1!", []),
        ("", ["password.empty"]),
        ("Abcde1!", ["password.too.short"]),
        ("Ab1!" * 100, []),
        ("Ab1!" * 100 + "x", ["password.too.long"]),
        ("abcdef1!", ["password.not.enough.uppercase"]),
        ("ABCDEF1!", ["password.not.enough.lowercase"]),
        ("Abcdefg!", ["password.not.enough.digits"]),
        ("Abcdefg1", ["password.not.enough.specials"]),
        ("Abcdef1 ", ["password.not.enough.specials"]),
        ("Abcdef1€", ["password.not.enough.specials"]),
        ("Abcdef٣!", ["password.not.enough.digits"]),
        ("Äbcdef1!", ["password.not.enough.uppercase"]),
        ("Abcdef1!ж漢🔑", []),
        ("Abcdef1!\n", ["password.control.character"]),
        ("Abcdef1!\x00", ["password.control.character"]),
        ("Abcdef1!\x85", ["password.control.character"]),
        ("Abcdef1!\ud800", ["password.not.unicode"]),
        ("Abcdef1!\u200b", ["password.not.opaque.string"]),
        ("Abcdef1!\u200d", ["password.not.opaque.string"]),
        ("Abcdef1!\x01\u200b", ["password.control.character", "password.not.opaque.string"]),
        ("Abcdef1!\uffff", ["password.not.opaque.string"]),
        ("Abcdef1! \u00a0", []),
        (
            "é",
            [
                "password.too.short",
                "password.not.enough.lowercase",
                "password.not.enough.uppercase",
                "password.not.enough.digits",
                "password.not.enough.specials",
            ],
        ),
    ],
)
def test_all_broken_rules_are_named(text: str, expected: list[str]) -> None:
    """Each password breaks exactly the rules in the table, in a fixed order."""
    assert codes(text) == expected


@pytest.mark.parametrize(
    ("text", "user", "broken"),
    [
        ("xJane.Doe1!", "jane.doe@example.com", True),
        ("JANE.DOE1!a", "jane.doe@example.com", True),
        ("Jane@example.com1", "jane@example.com", True),
        ("JaDoe-1234", "jane.doe@example.com", False),
        ("Ab-jo-12345", "jo@example.com", False),
        ("Ab-jo-12345", "jo", False),
        ("Ab-joe-12345", "joe", True),
        ("Straßer-12X", "STRASSER@example.com", True),
        (unicodedata.normalize("NFD", "André-12345"), unicodedata.normalize("NFC", "ANDRÉ"), True),
        ("Ab-1234567", "", False),
        ("Ab-1234567", None, False),
        ("Ab1!" * 300 + "jane", "JANE", True),
    ],
)
def test_a_password_that_contains_the_user_name_is_refused(text: str, user: str | None, broken: bool) -> None:
    """The whole name and the part before the @ count from 3 characters on, whatever the case."""
    assert ("password.contains.username" in codes(text, user)) is broken


def test_characters_are_code_points() -> None:
    """Neither bytes nor UTF-16 units nor graphemes are counted."""
    assert codes("Ab1!🔑🔑🔑", rules=Rules(minimum_length=8)) == ["password.too.short"]
    assert codes("Ab1!🔑🔑🔑🔑", rules=Rules(minimum_length=8, maximum_length=8)) == []


def test_letters_of_other_alphabets_count_when_asked() -> None:
    """With ``ascii_only`` off Cyrillic letters count as lower, upper and letters; other digits never do."""
    rules = Rules(ascii_only=False, minimum_letters=6)
    assert codes("Пароль1!", rules=rules) == []
    assert codes("Пароль٣!", rules=rules) == ["password.not.enough.digits"]
    assert "password.not.enough.letters" in codes("Пароль1!", rules=Rules(minimum_letters=1))


def test_there_are_32_specials() -> None:
    """The specials are the 32 ASCII ones, and each alone is enough."""
    assert len(SPECIALS) == 32
    assert [c for c in SPECIALS if codes(f"Abcdef1{c}")] == []


def test_every_code_has_its_sentence() -> None:
    """A violation carries the sentence that its code has everywhere else."""
    found = check(Password("é\x00\u200b"), None, Rules(minimum_letters=9))
    assert found
    assert all(violation == Violation(violation.code, MESSAGES[violation.code]) for violation in found)


def test_a_password_beyond_the_bound_is_never_given_to_what_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    """PRECIS and normalization see no password that is too long, even if the rules would allow it."""

    def refuse(*_: object) -> str:
        raise AssertionError("called")

    monkeypatch.setattr(policy, "_is_opaque_string", refuse)
    monkeypatch.setattr(policy, "_fold", refuse)
    text = "Ab1!" + "\u0301" * LONGEST
    assert codes(text, "jane", Rules(maximum_length=10**9)) == ["password.too.long"]


@given(ANY_TEXT, st.none() | ANY_TEXT)
def test_any_text_is_judged_without_an_exception(text: str, user: str | None) -> None:
    """The check returns for every string, lone surrogates included, and names no rule twice."""
    found = codes(text, user)
    assert len(found) == len(set(found))


def test_rfc_8265_allows_every_printable_ascii_character() -> None:
    """So the check may leave PRECIS out for such passwords: PRECIS itself agrees, alone and together."""
    printable = [chr(code) for code in range(0x20, 0x7F)]
    assert [c for c in (*printable, "".join(printable)) if not policy._is_opaque_string(f"a{c}a")] == []


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1))
def test_printable_ascii_is_never_unsuitable(text: str) -> None:
    """With no minimum, any printable ASCII password passes."""
    assert codes(text, rules=NONE) == []


@given(ANY_TEXT.filter(bool), ANY_TEXT)
def test_more_characters_never_break_a_minimum(text: str, more: str) -> None:
    """Appending can only satisfy the rules that ask for a minimum."""
    minimum = ("password.too.short", "password.not.enough")
    assert {c for c in codes(text + more) if c.startswith(minimum)} <= set(codes(text))


@given(ANY_TEXT, st.characters(min_codepoint=0xD800, max_codepoint=0xDFFF, codec=None), ANY_TEXT)
def test_what_utf8_cannot_hold_is_refused(before: str, surrogate: str, after: str) -> None:
    """A lone surrogate is refused wherever it stands."""
    assert "password.not.unicode" in codes(before + surrogate + after, rules=NONE)


def test_nothing_of_the_password_comes_out() -> None:
    """Neither the verdict nor what is raised after it holds the password, although PRECIS's error did."""
    found = check(Password("Canary-7\u200b"), "jane", Rules())
    assert [violation.code for violation in found] == ["password.not.opaque.string"]
    assert "Canary" not in repr(found)
    assert sys.exc_info() == (None, None, None)
    with pytest.raises(RuntimeError) as caught:
        raise RuntimeError
    assert caught.value.__context__ is None
