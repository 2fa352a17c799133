import base64
import hashlib
import json
from urllib.parse import quote, quote_plus

import pytest

from passferry.domain.password import Password

TEXT = 'Pä ss-w0rd/"+x'
RAW = TEXT.encode()


@pytest.mark.parametrize(
    "echo",
    [
        TEXT,
        quote(TEXT),
        quote(TEXT, safe="").replace("%C3%A4", "%c3%a4"),
        quote_plus(TEXT),
        json.dumps(TEXT)[1:-1],
        RAW.hex(),
        RAW.hex().upper(),
        *(base64.b64encode(b"x" * skip + RAW + b"yz").decode() for skip in range(3)),
        base64.urlsafe_b64encode(RAW).decode(),
        *(hashlib.new(name, RAW).hexdigest() for name in ("md5", "sha1", "sha256", "sha512")),
    ],
)
def test_a_password_is_found_in_foreign_text_however_it_is_coded(echo: str) -> None:
    """What a target may echo is recognized in clear, coded and hashed."""
    assert Password(TEXT).within(f"v1-{echo}.2")


@pytest.mark.parametrize(
    "text", ["", "12", "W/abc", "8bd68f2b-3f67-4db8-8f79-f3478837b3b5", TEXT[:-1], TEXT.lower()]
)
def test_other_text_does_not_hold_the_password(text: str) -> None:
    """Ids and versions that have nothing to do with the password are kept."""
    assert not Password(TEXT).within(text)


def test_nothing_holds_the_empty_password() -> None:
    """An empty password is in no text."""
    assert not Password("").within("12")


def test_base64_that_is_too_short_to_tell_is_not_taken_for_a_password() -> None:
    """A few characters occur in any id by chance."""
    assert not Password("ab").within(base64.b64encode(b"ab").decode() + "QUJD")
