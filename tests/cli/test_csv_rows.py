"""The reader of CSV files.

Invariants: what RFC 4180 can write is read back exactly; no bytes make it fail; nothing shows a password.
"""

import io
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry.entrypoints.csv_rows import LONGEST_LINE, Mistake, Row, read

CELL = st.text(st.characters(codec="utf-8"), max_size=30)


def plain(found: Row | Mistake) -> tuple[object, ...]:
    """All of a row, for comparison."""
    if isinstance(found, Mistake):
        return found.number, found.code
    return found.number, found.user, found.password.reveal(), found.changed_at


def rows(data: bytes) -> list[tuple[object, ...]]:
    """What is read of ``data``."""
    return [plain(found) for found in read(io.BytesIO(data))]


def written(cells: Sequence[str], end: str) -> str:
    """A record as RFC 4180 has it: everything in quotes, quotes doubled."""
    return ",".join('"' + cell.replace('"', '""') + '"' for cell in cells) + end


@given(
    st.lists(st.tuples(CELL.filter(bool), CELL), max_size=8),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
)
def test_what_can_be_written_is_read_exactly(
    cells: list[tuple[str, str]], end: str, mark: bool, cut: bool
) -> None:
    """Invariant: user and password come back as they were, with spaces, quotes, commas and line breaks."""
    text = written(["userName", "password"], end) + "".join(written(record, end) for record in cells)
    data = (b"\xef\xbb\xbf" if mark else b"") + (text.removesuffix(end) if cut else text).encode()
    expected = [(number, user, password, None) for number, (user, password) in enumerate(cells, 2)]
    assert rows(data) == expected


@given(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(lambda b: b"userName,password\n" + b)))
def test_no_bytes_make_it_fail(data: bytes) -> None:
    """Invariant: whatever the bytes, there are rows and mistakes, numbered upwards, and no exception."""
    found = list(read(io.BytesIO(data)))
    numbers = [each.number for each in found]
    assert numbers == sorted(set(numbers))
    assert all(each.code for each in found if isinstance(each, Mistake))


@given(st.binary(min_size=6, max_size=40))
def test_what_is_read_shows_no_password(cell: bytes) -> None:
    """Invariant: the representation of a row or of a mistake does not hold the password."""
    for found in read(io.BytesIO(b"userId,password\nu," + cell)):
        if isinstance(found, Row) and len(found.password.reveal()) > 5:
            assert found.password.reveal() not in repr(found)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"password,userId\n =1+1 ,u\n", [(2, "u", " =1+1 ", None)]),
        (b"userName,password,changedAt\na,b,\n", [(2, "a", "b", None)]),
        (
            b"userName,password,changedAt\na,b,2026-01-01T00:00:00Z\n",
            [(2, "a", "b", "2026-01-01T00:00:00Z")],
        ),
        (b"userName,password,changedAt\na,b,yesterday\n", [(2, "changed.at.invalid")]),
        (b"userName,password\na,b,c\nd,e\n", [(2, "row.fields"), (3, "d", "e", None)]),
        (b"userName,password\n\na,b\n", [(3, "a", "b", None)]),
        (b"userName,password\n,b\n", [(2, "user.invalid")]),
        (b"userName,password\na,\xff\nc,d\n", [(2, "row.not.utf8"), (3, "c", "d", None)]),
        (b'userName,password\na,"b"c\nd,e\n', [(2, "row.quotes")]),
        (b'userName,password\na,"b\nd,e\n', [(2, "row.quotes")]),
        (b'userName,password\na,"b\n c"\nd,e\n', [(2, "a", "b\n c", None), (3, "d", "e", None)]),
        (b"userName,password\na," + b"x" * LONGEST_LINE + b"\nc,d\n", [(2, "row.too.long")]),
        (b"", [(1, "header.unknown")]),
        (b"userName,password\n", []),
        *(
            (header + b"\na,b,c\n", [(1, "header.unknown")])
            for header in (
                b"a@example.com,Secret-9",
                b"userName,userId,password",
                b"userName",
                b"password",
                b"userName,password,password",
                b"userName;password",
                b"userName,password,changed_at",
                b" userName,password",
            )
        ),
    ],
)
def test_each_case_is_read_as_it_is_written(data: bytes, expected: list[tuple[object, ...]]) -> None:
    """Nothing is trimmed or evaluated; what is wrong is named by its row; a broken quote ends it."""
    assert rows(data) == expected


@pytest.mark.parametrize(
    ("column", "one", "other", "same"),
    [
        ("userName", "A@example.com", "a@EXAMPLE.com", True),
        ("userName", "JANE", "jane", True),
        ("userId", "A@example.com", "a@example.com", True),
        ("userId", "6F1D3E0A-0C6F-4B8E-9A53-5D2F8D0F3D11", "6f1d3e0a-0c6f-4b8e-9a53-5d2f8d0f3d11", True),
        ("userId", "aB1", "ab1", False),
    ],
)
def test_rows_of_the_same_user_are_recognised(column: str, one: str, other: str, same: bool) -> None:
    """Names and UUIDs in any letter case, other ids exactly."""
    data = f"{column},password\n{one},x\n{other},y\n".encode()
    keys = {found.key for found in read(io.BytesIO(data)) if isinstance(found, Row)}
    assert (len(keys) == 1) is same
