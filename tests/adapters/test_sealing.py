"""Sealing: the promises of the Sealer port, and the format as it is documented."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry.adapters.keyring import KeyRing, SealingKey
from passferry.adapters.sealing import RingSealer, associated, key_id_of, pad, unpad
from passferry.ports import Binding, SealBroken, UnknownKey

KEY_ID = "0123456789abcdef"
RING = KeyRing(
    KEY_ID, {KEY_ID: SealingKey(KEY_ID, "2026-11-24T00:00:00Z", bytes(range(32)))}, bytes(range(32, 64))
)
BINDING = Binding("password", "default", "jane@example.com", "c-1")
DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "sealed-format.md"

texts = st.text(max_size=40)
bindings = st.builds(Binding, st.sampled_from(["password", "verifier"]), texts, texts, texts)


def vectors(kind: str) -> list[dict[str, str]]:
    """The documented vectors: one dictionary of fields each."""
    blocks = re.findall(rf"```{kind}\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)
    return [
        {name: value.strip() for name, value in (line.split(":", 1) for line in block.splitlines())}
        for block in blocks
    ]


def fixed(value: bytes) -> Callable[[int], bytes]:
    """A source that gives ``value`` and nothing else."""
    return lambda count: value if count == len(value) else pytest.fail("asked for another length")


@given(st.binary(max_size=300), bindings)
def test_opening_gives_back_what_was_sealed(plaintext: bytes, binding: Binding) -> None:
    """Open after seal, under the same binding, is the identity."""
    sealer = RingSealer(RING)
    assert sealer.open(sealer.seal(plaintext, binding), binding) == plaintext


@given(st.binary(max_size=100), st.data())
def test_any_flipped_bit_is_refused(plaintext: bytes, data: st.DataObject) -> None:
    """A sealed value with any single bit changed opens no more, wherever the bit lies."""
    sealer = RingSealer(RING)
    sealed = bytearray(sealer.seal(plaintext, BINDING))
    place = data.draw(st.integers(0, 8 * len(sealed) - 1))
    sealed[place // 8] ^= 1 << place % 8
    with pytest.raises((SealBroken, UnknownKey)):
        sealer.open(bytes(sealed), BINDING)


def test_every_byte_of_one_value_is_protected() -> None:
    """Exhaustively for one value: flipping any byte is refused, as is cutting it anywhere."""
    sealer = RingSealer(RING)
    sealed = sealer.seal(b"Correct-Horse-7", BINDING)
    for place in range(len(sealed)):
        with pytest.raises((SealBroken, UnknownKey)):
            sealer.open(sealed[:place] + bytes([sealed[place] ^ 0xFF]) + sealed[place + 1 :], BINDING)
        with pytest.raises((SealBroken, UnknownKey)):
            sealer.open(sealed[:place], BINDING)


@given(bindings, bindings)
def test_a_value_opens_under_its_own_binding_only(mine: Binding, other: Binding) -> None:
    """Associated data equal only when all four parts are, so a moved value does not open."""
    header = bytes(9)
    assert (associated(header, mine) == associated(header, other)) == (mine == other)


@pytest.mark.parametrize("part", ["purpose", "org", "user", "change_id"])
def test_each_part_of_the_binding_counts(part: str) -> None:
    """Changing one part of the binding alone is refused."""
    sealer = RingSealer(RING)
    changes: dict[str, str] = {part: "other"}
    with pytest.raises(SealBroken):
        sealer.open(sealer.seal(b"x", BINDING), replace(BINDING, **changes))


def test_parts_cannot_flow_into_one_another() -> None:
    """Moving a letter from the org's end to the user's start gives another binding."""
    sealer = RingSealer(RING)
    sealed = sealer.seal(b"x", Binding("password", "ab", "c", "1"))
    with pytest.raises(SealBroken):
        sealer.open(sealed, Binding("password", "a", "bc", "1"))


def test_an_unknown_key_is_told_apart_and_named() -> None:
    """A value sealed under a key that the ring lacks raises UnknownKey with the key's id."""
    sealed = RingSealer(RING).seal(b"x", BINDING)
    other = KeyRing("f" * 16, {"f" * 16: SealingKey("f" * 16, "", bytes(32))}, bytes(32))
    with pytest.raises(UnknownKey, match=KEY_ID):
        RingSealer(other).open(sealed, BINDING)
    assert RingSealer(RING).knows(KEY_ID)
    assert not RingSealer(other).knows(KEY_ID)
    assert key_id_of(sealed) == KEY_ID


def test_an_older_key_still_opens_but_does_not_seal() -> None:
    """After a rotation the active key seals, and values of the older key still open."""
    newer = SealingKey("f" * 16, "", bytes(32))
    rotated = KeyRing(newer.id, {**RING.keys, newer.id: newer}, RING.mac_key)
    sealed = RingSealer(RING).seal(b"x", BINDING)
    assert RingSealer(rotated).open(sealed, BINDING) == b"x"
    assert key_id_of(RingSealer(rotated).seal(b"x", BINDING)) == newer.id


def test_errors_carry_nothing_of_the_library() -> None:
    """SealBroken has no cause and no context: nothing of the decryption comes along."""
    sealer = RingSealer(RING)
    sealed = sealer.seal(b"Correct-Horse-7", BINDING)
    with pytest.raises(SealBroken) as caught:
        sealer.open(sealed[:-1] + bytes([sealed[-1] ^ 1]), BINDING)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert str(caught.value) == ""


@given(st.integers(0, 62), st.integers(0, 62))
def test_the_length_of_a_password_does_not_show(one: int, other: int) -> None:
    """Plaintexts of 0 to 62 bytes give sealed values of one length."""
    sealer = RingSealer(RING)
    assert len(sealer.seal(b"a" * one, BINDING)) == len(sealer.seal(b"a" * other, BINDING))


@given(st.binary(max_size=300))
def test_unpadding_is_the_inverse_of_padding(plaintext: bytes) -> None:
    """Padding is a multiple of 64 bytes and is taken off exactly."""
    assert len(pad(plaintext)) % 64 == 0
    assert unpad(pad(plaintext)) == plaintext


@given(st.binary(max_size=200))
def test_only_what_padding_gives_is_unpadded(padded: bytes) -> None:
    """Any bytes are refused, or are exactly what padding gives for the answer."""
    try:
        plaintext = unpad(padded)
    except SealBroken:
        return
    assert pad(plaintext) == padded


def test_too_long_a_plaintext_is_refused_without_repeating_it() -> None:
    """65,535 bytes can be sealed, one more cannot, and the error does not hold them."""
    sealer = RingSealer(RING)
    assert len(sealer.open(sealer.seal(b"a" * 65_535, BINDING), BINDING)) == 65_535
    with pytest.raises(ValueError, match="65535") as caught:
        sealer.seal(b"a" * 65_536, BINDING)
    assert "aaa" not in str(caught.value)


def test_two_seals_of_one_value_differ() -> None:
    """The nonce is fresh: equal passwords cannot be told from their sealed values."""
    sealer = RingSealer(RING)
    assert sealer.seal(b"x", BINDING) != sealer.seal(b"x", BINDING)


def test_the_documented_values_are_what_sealing_gives() -> None:
    """Each vector of the format's page: same associated data, same bytes, and it opens."""
    documented = vectors("vector")
    assert len(documented) >= 3
    for vector in documented:
        binding = Binding(vector["purpose"], vector["org"], vector["user"], vector["change"])
        plaintext, sealed = bytes.fromhex(vector["plaintext"]), bytes.fromhex(vector["sealed"])
        assert associated(sealed[:9], binding).hex() == vector["associated"]
        assert RingSealer(RING, fixed(bytes.fromhex(vector["nonce"]))).seal(plaintext, binding) == sealed
        assert RingSealer(RING).open(sealed, binding) == plaintext


def test_the_documented_macs_are_what_the_ring_gives() -> None:
    """Each MAC vector of the format's page is computed the same."""
    documented = vectors("mac")
    assert len(documented) >= 2
    for vector in documented:
        assert RingSealer(RING).mac(vector["purpose"], bytes.fromhex(vector["data"])).hex() == vector["mac"]


@given(texts, st.binary(max_size=40), texts, st.binary(max_size=40))
def test_macs_of_different_purposes_or_data_differ(
    purpose: str, data: bytes, other_purpose: str, other_data: bytes
) -> None:
    """MACs are equal exactly when purpose and data both are."""
    sealer = RingSealer(RING)
    same = sealer.mac(purpose, data) == sealer.mac(other_purpose, other_data)
    assert same == ((purpose, data) == (other_purpose, other_data))
