"""Audit records as lines of a file."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry.domain.audit import GENESIS, Head, Link, Record, link
from passferry.domain.audit_file import Files, Line, from_text, to_text

KEY = b"k" * 32

texts = st.none() | st.text(max_size=12)
records = st.builds(
    Record,
    st.sampled_from(["accepted", "attempt", "outcome"]),
    st.floats(0, 2e9),
    st.text(max_size=12),
    user=texts,
    attempt=st.none() | st.integers(0, 1000),
    other=texts,
)


def lines(count: int, org: str = "default", first: int = 1) -> list[Line]:
    """Records ``first`` to ``count`` of a chain that is always the same."""
    found, previous = [], GENESIS
    for seq in range(1, count + 1):
        record = Record("accepted", 1000.0 + seq, "hr", f"c{seq}")
        mac = link(KEY, previous, org, seq, record)
        found.append(Line(org, previous, Link(seq, record, mac)))
        previous = mac
    return found[first - 1 :]


def checked(*files: list[Line]) -> tuple[Files, list[str]]:
    """What the checker says of ``files``."""
    files_, wrong = Files(KEY), list[str | None]()
    for file in files:
        wrong += [files_.take(line) for line in file]
        wrong.append(files_.file_ends())
    return files_, [each for each in wrong if each is not None]


@given(records)
def test_a_line_reads_as_what_was_written(record: Record) -> None:
    """Any record comes back as itself, from one line of plain ASCII."""
    line = Line("default", GENESIS, Link(1, record, link(KEY, GENESIS, "default", 1, record)))
    text = to_text(line)
    assert text.isascii()
    assert "\n" not in text
    assert from_text(text) == line


@given(records, st.data())
def test_a_line_is_written_in_one_way_only(record: Record, data: st.DataObject) -> None:
    """A line of which any one character was left out or doubled is none, or of another record."""
    line = Line("default", GENESIS, Link(1, record, link(KEY, GENESIS, "default", 1, record)))
    text = to_text(line)
    at = data.draw(st.integers(0, len(text) - 1))
    for altered in (text[:at] + text[at + 1 :], text[:at] + text[at] + text[at:]):
        try:
            found = from_text(altered)
        except ValueError:
            continue
        assert Files(KEY).take(found) is not None


@pytest.mark.parametrize(
    "other",
    [
        '{"actor":"nobody",',  # a second member of the same name: readers differ in which one counts
        '{"note":"x",',
        "{ ",
    ],
)
def test_what_other_readers_could_see_otherwise_is_no_line(other: str) -> None:
    """Doubled and unknown members, and spaces, are refused."""
    text = to_text(lines(1)[0])
    assert from_text(text) == lines(1)[0]
    with pytest.raises(ValueError, match="no audit record"):
        from_text(text.replace("{", other, 1))


@pytest.mark.parametrize("text", ["", "{}", "[]", "7", "null", '"x"', "[" * 100_000, '{"seq":' + "9" * 5000])
def test_what_is_no_record_is_refused(text: str) -> None:
    """Whatever there is in a file, it is refused as what it is not."""
    with pytest.raises(ValueError, match="no audit record"):
        from_text(text)


def test_the_line_is_what_the_mac_covers() -> None:
    """Without ``mac`` and ``previous``, written again in the same form, it is the text after it."""
    import hmac

    members = json.loads(to_text(lines(3)[2]))
    mac, previous = members.pop("mac"), bytes.fromhex(members.pop("previous"))
    covered = previous + json.dumps(members, sort_keys=True, separators=(",", ":")).encode()
    assert hmac.digest(KEY, covered, "sha256").hex() == mac


def test_files_that_follow_each_other_hold() -> None:
    """One after another, and where a later one repeats the end of an earlier; each org has its own chain."""
    files, wrong = checked(lines(4) + lines(2, "other"), lines(6, first=3) + lines(3, "other", first=3))
    assert wrong == []
    assert {org: head.seq for org, head in files.heads.items()} == {"default": 6, "other": 3}
    assert files.starts["default"] == Head(0, GENESIS)
    files, wrong = checked(lines(6, first=4))
    assert (wrong, files.starts["default"].seq) == ([], 3)


def test_a_gap_between_two_files_is_found() -> None:
    """A file that is missing between two, or in the wrong place, shows."""
    assert (
        checked(lines(3), lines(6, first=5))[1][0] == "it begins at record 5, and the file before ends at 3"
    )
    assert "the file before at 4" in checked(lines(4), lines(3))[1][0]


def test_a_file_of_another_past_is_found() -> None:
    """Two files that are sound, each by itself, and disagree on what happened, as after a restore."""
    previous, forked = GENESIS, []
    for seq in range(1, 5):
        record = Record("accepted", 2000.0 + seq, "hr", f"d{seq}")
        mac = link(KEY, previous, "default", seq, record)
        forked.append(Line("default", previous, Link(seq, record, mac)))
        previous = mac
    assert checked(forked)[1] == []
    assert checked(lines(3), forked[3:])[1][0] == "record 3 is not the one that the file before ends with"
    assert checked(lines(3), forked)[1][0] == "record 3 is not the one that the head names"


def test_an_altered_or_removed_line_is_found() -> None:
    """Within a file: another value, a line less, two in the wrong order."""
    found = lines(5)
    other = replace(found[2], link=replace(found[2].link, record=replace(found[2].link.record, actor="x")))
    assert checked([*found[:2], other, *found[3:]])[1][0] == "record 3 does not fit the ones before"
    assert checked([*found[:2], *found[3:]])[1]
    assert checked([found[1], found[0], *found[2:]])[1]


def test_the_mac_before_is_what_the_line_says_it_is() -> None:
    """In every line, also where the chain would hold without it."""
    found = lines(3)
    assert checked([*found[:2], replace(found[2], previous=bytes(32))])[1][0] == (
        "record 3 does not fit the ones before"
    )
