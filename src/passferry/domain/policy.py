"""Which passwords are refused at once, and why: a hint that spares a user the target's later refusal.

Rules and codes are those of Genesys Cloud (developer centre, `OrgAuthSettings.passwordRequirements`, and
help centre, "Set password requirements"), and RFC 8265 OpaqueString. The target has the last word: it also
knows the history, the minimum age and the compromised passwords.
"""

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from precis_i18n import get_profile

from passferry.domain.messages import message_for
from passferry.domain.password import Password

LONGEST = 1024
"""Code points that no rule can raise: what costs more than one pass is never done to a longer password."""

SPECIALS = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
"""The 32 characters that Genesys Cloud counts as special; neither space nor anything beyond ASCII."""

_DIGITS = frozenset("0123456789")
_SHORTEST_NAME = 3  # a name of one or two letters occurs in good passwords by accident
_OPAQUE_STRING = get_profile("OpaqueString")


@dataclass(frozen=True, slots=True)
class Rules:
    """What a password must have; the defaults are those of a new Genesys Cloud org.

    ``ascii_only``: only A-Z, a-z and 0-9 count as letters and digits. Genesys Cloud documents digits as 0-9,
    names 32 ASCII specials, and does not say whether other letters count. A password that it refuses later
    is the worse mistake, since its user was told "accepted" and has left: so the strict reading is the
    default. False also counts letters of other alphabets (never other digits).

    ``minimum_age_seconds`` is not judged here: it is what delivery needs to understand `password.too.young`.
    """

    minimum_length: int = 8
    maximum_length: int = 400
    minimum_letters: int = 0
    minimum_lower: int = 1
    minimum_upper: int = 1
    minimum_digits: int = 1
    minimum_specials: int = 1
    minimum_age_seconds: int | None = None
    ascii_only: bool = True


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken rule: a stable code, Genesys Cloud's own where it has one, and a public sentence."""

    code: str
    message: str


def check(password: Password, user: str | None, rules: Rules) -> tuple[Violation, ...]:
    """All rules that ``password`` breaks; empty when it may be sent. Never raises.

    Args:
        password: judged as received, in code points.
        user: the user's name. A password that contains it whole, or its part before the last ``@``, is
            refused; case and the form of accents do not matter, names under 3 characters do not count.
        rules: the org's.
    """
    return tuple(Violation(code, message_for(code)) for code in _broken(password.reveal(), user, rules))


def _broken(text: str, user: str | None, rules: Rules) -> Iterator[str]:
    if not text:
        yield "password.empty"
        return
    if len(text) < rules.minimum_length:
        yield "password.too.short"
    too_long = len(text) > min(rules.maximum_length, LONGEST)
    if too_long:
        yield "password.too.long"
    yield from _too_few(text, rules)
    yield from _unsuitable(text, judge_opaque=not too_long)
    if user is not None and _contains_name(text, user, exact=too_long):
        yield "password.contains.username"


def _too_few(text: str, rules: Rules) -> Iterator[str]:
    letters = text
    if rules.ascii_only and not text.isascii():
        letters = "".join(filter(str.isascii, text))
    if sum(map(str.isalpha, letters)) < rules.minimum_letters:
        yield "password.not.enough.letters"
    if sum(map(str.islower, letters)) < rules.minimum_lower:
        yield "password.not.enough.lowercase"
    if sum(map(str.isupper, letters)) < rules.minimum_upper:
        yield "password.not.enough.uppercase"
    if sum(map(_DIGITS.__contains__, text)) < rules.minimum_digits:
        yield "password.not.enough.digits"
    if sum(map(SPECIALS.__contains__, text)) < rules.minimum_specials:
        yield "password.not.enough.specials"


def _unsuitable(text: str, *, judge_opaque: bool) -> Iterator[str]:
    if text.isascii() and text.isprintable():
        return  # every printable ASCII character is allowed (RFC 8264 section 9.11), and most passwords are
    if any("\ud800" <= c <= "\udfff" for c in text):
        yield "password.not.unicode"  # nothing below is defined for it
        return
    if any(map(_is_control, text)):
        yield "password.control.character"
        # RFC 8265 refuses these as well; a letter in their place shows whether it refuses anything else.
        text = "".join("a" if _is_control(c) else c for c in text)
    if judge_opaque and not _is_opaque_string(text):
        yield "password.not.opaque.string"


def _is_control(c: str) -> bool:
    return c < "\x20" or "\x7f" <= c <= "\x9f"  # general category Cc, which Unicode will not add to


def _is_opaque_string(text: str) -> bool:
    """Whether RFC 8265 section 4.2 allows ``text``. Its errors hold the text: none leaves this function."""
    try:
        _OPAQUE_STRING.enforce(text)
    except ValueError:
        return False
    return True


def _contains_name(text: str, user: str, *, exact: bool) -> bool:
    fold = str.casefold if exact else _fold
    inside = fold(text)
    names = {user, user.rpartition("@")[0]}
    return any(len(name) >= _SHORTEST_NAME and fold(name[:LONGEST]) in inside for name in names)


def _fold(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
