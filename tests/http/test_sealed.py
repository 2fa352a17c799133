"""Handing over sealed changes: as the same POST from the same caller would be taken."""

import json
from typing import Any

import httpx2
import pytest

from http_fakes import GOOD, NOW, USER, World
from passferry import hand_over
from passferry.ports import HandOverKey, SealBroken, UnknownKey

PRIVATE = bytes(range(64, 96))
PUBLIC = hand_over.public_of(PRIVATE)


class Keys:
    """One pair."""

    def key(self) -> HandOverKey | None:
        return HandOverKey(hand_over.key_id(PUBLIC), PUBLIC)

    def open(self, sealed: bytes) -> bytes:
        name = hand_over.key_id_of(sealed)
        if name is None:
            raise SealBroken
        if name != hand_over.key_id(PUBLIC):
            raise UnknownKey(name)
        plaintext = hand_over.opened(PRIVATE, sealed)
        if plaintext is None:
            raise SealBroken
        return plaintext


def world() -> World:
    """The gateway with one pair."""
    return World(hand_over=Keys())


def letter(password: str = GOOD, org: str | None = None, key: str = "k1", **more: Any) -> bytes:
    """A sealed change."""
    body = {"userId": USER, "password": password, "changedAt": "2026-01-01T00:00:00Z"} | more
    return hand_over.seal(
        PUBLIC, json.dumps({"org": org, "idempotencyKey": key, "body": body}).encode() + b"  "
    )


def send(w: World, sealed: bytes, path: str = "/sync/sealed", **more: Any) -> httpx2.Response:
    """Hand it over."""
    headers = {"Content-Type": "application/octet-stream", "Prefer": "respond-async"} | more.pop(
        "headers", {}
    )
    return w.call("POST", path, key=more.pop("key", w.portal), content=sealed, headers=headers, **more)


def test_a_letter_is_taken_as_the_post_in_it() -> None:
    """User, password, time, org, key and caller reach accept as they are in the letter."""
    w = world()
    answer = send(w, letter("Pä ss-w0rd X", org="emea"))
    assert answer.status_code == 202
    (request,) = w.accept.requests
    assert (request.org, request.user.value, request.idempotency_key) == ("emea", USER, "k1")
    assert request.password.reveal() == "Pä ss-w0rd X"
    assert request.changed_at is not None
    assert request.changed_at < NOW
    assert w.accept.callers[0].name == "portal"
    assert send(w, letter("Pä ss-w0rd X", org="emea")).json()["changeId"] == answer.json()["changeId"]


@pytest.mark.parametrize(
    ("sealed", "code"),
    [
        (b"", "sealed.broken"),
        (b"x" * 100, "sealed.broken"),
        (letter()[:-1], "sealed.broken"),
        (b"\1" + bytes(200), "sealed.key.unknown"),
        (letter("short"), "policy"),
        (letter(more="x"), "member.unknown"),
        (letter(key=""), "idempotency.key.invalid"),
        (letter(key="ä"), "idempotency.key.invalid"),
        (hand_over.seal(PUBLIC, b"{}"), "sealed.broken"),
        (hand_over.seal(PUBLIC, b"[]"), "json.not.object"),
        (hand_over.seal(PUBLIC, b'{"org":1,"idempotencyKey":"k","body":{}}'), "sealed.broken"),
        (hand_over.seal(PUBLIC, b'{"org":null,"idempotencyKey":"k","body":[]}'), "sealed.broken"),
        (hand_over.seal(PUBLIC, b'{"org":null,"idempotencyKey":1,"body":{}}'), "sealed.broken"),
    ],
    ids=lambda value: value if isinstance(value, str) else "letter",  # no two are alike, from run to run
)
def test_what_is_wrong_with_a_letter_is_told_by_its_code(sealed: bytes, code: str) -> None:
    """400, the code, and nothing accepted."""
    w = world()
    answer = send(w, sealed)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert w.accept.requests == []


def test_a_letter_for_one_org_is_not_taken_for_another() -> None:
    """The path may name the org in the letter and no other; the key must be allowed to use it."""
    w = world()
    assert send(w, letter(org="emea"), "/orgs/emea/sync/sealed").status_code == 202
    assert send(w, letter(org="emea"), "/orgs/default/sync/sealed").json()["code"] == "sealed.broken"
    assert send(w, letter(org="default"), key=w.emea).status_code == 403
    assert send(w, letter(), "/orgs/emea/sync/sealed").status_code == 202


def test_only_a_source_hands_over_and_only_octets() -> None:
    """No key 401, another role 403, JSON 415, no pair: unreadable."""
    w = world()
    assert send(w, letter(), key=None).status_code == 401
    assert send(w, letter(), key=w.operator).status_code == 403
    assert send(w, letter(), headers={"Content-Type": "application/json"}).status_code == 415
    none = World()
    assert send(none, letter()).json()["code"] == "sealed.key.unknown"
    assert send(w, bytes(20_000)).status_code == 413


def test_the_key_is_told_to_sources() -> None:
    """`GET /sync/key`: id, key, suite; 404 where there is none; not to other roles."""
    w = world()
    answer = w.call("GET", "/sync/key", key=w.portal)
    assert answer.status_code == 200
    assert answer.json()["keyId"] == hand_over.key_id(PUBLIC)
    assert w.call("GET", "/sync/key", key=w.operator).status_code == 403
    none = World()
    assert none.call("GET", "/sync/key", key=none.portal).json()["code"] == "sealed.key.none"
