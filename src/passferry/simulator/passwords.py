"""The platform's password rules and their documented refusal codes, in the order it checks them here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from passferry.simulator.errors import MESSAGES, Refused, ScimRefused
from passferry.simulator.settings import LengthUnit, ScimRefusal, Settings, TooYoungText

SPECIALS = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
# The real list is unknown. These satisfy the default rules, so that the code can be reached at all.
COMPROMISED = frozenset(
    {"Password1!", "P@ssw0rd", "P@ssword1", "Welcome1!", "Qwerty123!", "Summer2024!", "Admin123!"}
)


def broken_rule(
    password: str, history: Sequence[str], changed_at: float | None, now: float, settings: Settings
) -> str | None:
    """The code of the first rule that a new password breaks, or None.

    `history` are the earlier passwords that may not come back; `changed_at` the time of the last change, in
    epoch seconds, or None when there was none.
    """
    return _broken_composition(password, settings) or _broken_history(
        password, history, changed_at, now, settings
    )


def _broken_composition(password: str, settings: Settings) -> str | None:
    length = _length(password, settings.length_unit)
    counted = password if settings.non_ascii_letters else "".join(c for c in password if c.isascii())
    checks = (
        (length == 0, "password.empty"),
        (length > settings.maximum_length, "invalid.password"),
        (length < settings.minimum_length, "password.too.short"),
        (sum(c.isalpha() for c in counted) < settings.minimum_letters, "password.not.enough.letters"),
        (sum(c.islower() for c in counted) < settings.minimum_lower, "password.not.enough.lowercase"),
        (sum(c.isupper() for c in counted) < settings.minimum_upper, "password.not.enough.uppercase"),
        (sum(c in "0123456789" for c in password) < settings.minimum_digits, "password.not.enough.digits"),
        (sum(c in SPECIALS for c in password) < settings.minimum_specials, "password.not.enough.specials"),
        (password in COMPROMISED, "password.compromised"),
    )
    return next((code for broken, code in checks if broken), None)


def _broken_history(
    password: str, history: Sequence[str], changed_at: float | None, now: float, settings: Settings
) -> str | None:
    reused = "password.reused" if password in history else None
    young = None
    if changed_at is not None and now < changed_at + settings.minimum_age_seconds:
        young = "password.too.young"
    return (young or reused) if settings.young_before_reused else (reused or young)


def _length(password: str, unit: LengthUnit) -> int:
    if unit is LengthUnit.UTF16:
        return len(password.encode("utf-16-le", "surrogatepass")) // 2
    return len(password)


def refusal(code: str, changed_at: float | None, settings: Settings, *, scim: bool) -> Refused:
    """The answer to a password that breaks a rule, in the shape of the call it came by."""
    message = MESSAGES[code]
    if code == "password.too.young" and settings.too_young_text is TooYoungText.WITH_TIME:
        until = math.ceil((changed_at or 0.0) + settings.minimum_age_seconds)
        message = f"password cannot be changed until {datetime.fromtimestamp(until, UTC):%Y-%m-%dT%H:%M:%SZ}"
    if scim and settings.scim_refusal is ScimRefusal.SCIM_ERROR:
        return ScimRefused(400, "invalidValue", message)
    return Refused(400, code, message)
