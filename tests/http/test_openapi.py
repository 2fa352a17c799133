"""The document of the routes is true."""

import ast
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from http_fakes import GOOD, USER, World, change
from passferry.domain.change import Evidence, Failure, State
from passferry.entrypoints import (
    http,
    http_answers,
    http_callers,
    http_front,
    http_guard,
    http_parse,
    openapi,
    scim,
)
from passferry.refusals import NotAccepted
from passferry.store_ports import StoreBusy, StoreFull

DOCUMENT: dict[str, Any] = json.loads(openapi.text())
KINDS: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": float,
    "boolean": bool,
    "null": type(None),
}


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """``schema``, or what it refers to."""
    found: Any = schema
    if "$ref" in schema:
        found = DOCUMENT
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
    assert isinstance(found, dict)
    return found


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether ``value`` is as ``schema`` says, in those words of JSON Schema that the document uses."""
    schema = resolved(schema)
    kinds = schema.get("type", [])
    checks = [
        not kinds
        or isinstance(value, tuple(KINDS[k] for k in ([kinds] if isinstance(kinds, str) else kinds))),
        "const" not in schema or value == schema["const"],
        "enum" not in schema or value in schema["enum"],
        "oneOf" not in schema or sum(fits(value, each) for each in schema["oneOf"]) == 1,
        all(fits(value, each) for each in schema.get("allOf", [])),
        "not" not in schema or not fits(value, schema["not"]),
    ]
    if isinstance(value, dict):
        known = schema.get("properties", {})
        checks += [
            set(schema.get("required", [])) <= value.keys(),
            schema.get("additionalProperties", True) or value.keys() <= known.keys(),
            all(fits(each, known[name]) for name, each in value.items() if name in known),
        ]
    if isinstance(value, list):
        checks += [
            all(fits(each, schema.get("items", {})) for each in value),
            len(value) <= schema.get("maxItems", len(value)),
        ]
    return all(checks)


def test_the_check_of_schemas_can_fail() -> None:
    """A missing, a superfluous and a wrong member, and a wrong constant are found."""
    schema = {"$ref": "#/components/schemas/Applied"}
    good = {"success": True, "message": "m", "changeId": "c", "status": "applied"}
    assert fits(good, schema)
    bads: list[Any] = [
        good | {"status": "pending"},
        good | {"more": 1},
        good | {"message": 1},
        good | {"success": False},
        {"success": True},
        [],
        None,
    ]
    for bad in bads:
        assert not fits(bad, schema)


def test_routes_and_document_name_the_same_paths_and_methods() -> None:
    """Nothing is served that the document does not have, nor the other way round."""
    routed = set(re.findall(r'\broute\("([A-Z]+)", "([^"]+)"', Path(http.__file__).read_text()))
    routed |= {(method, prefix + path) for prefix in scim.PREFIXES for method, path in scim.OPERATIONS}
    written = {(method.upper(), path) for path, item in DOCUMENT["paths"].items() for method in item}
    assert len(routed) > 12
    assert written == routed


def test_every_code_of_the_routes_is_in_the_document_and_no_other() -> None:
    """The codes of all operations together are those that the code can answer with."""
    sources = [
        Path(module.__file__ or "").read_text()
        for module in (http, http_callers, http_front, http_guard, http_parse)
    ]
    raised = {code for text in sources for code in re.findall(r'Problem\(\s*\d+,\s*"([a-z.]+)"', text)}
    raised |= {"json.invalid", "member.repeated", "superseded", "not.ready", *http_answers.NOT_ACCEPTED}
    raised -= {"path.unknown", "method.not.allowed"}  # of no operation
    written = {code for each in openapi.OPERATIONS for codes in each.codes().values() for code in codes}
    assert written == raised


def test_every_code_has_the_status_that_it_is_answered_with() -> None:
    """As the code raises it, so the document has it."""
    statuses: dict[str, set[int]] = {code: {status} for code, status in http_answers.NOT_ACCEPTED.items()}
    for module in (http, http_callers, http_front, http_guard, http_parse):
        for node in ast.walk(ast.parse(Path(module.__file__ or "").read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Problem":
                number, name = node.args[:2]
                if isinstance(name, ast.Constant) and isinstance(number, ast.Constant):
                    statuses.setdefault(str(name.value), set()).add(int(str(number.value)))
    assert len(statuses) > 30
    for operation in openapi.OPERATIONS:
        for status, codes in operation.codes().items():
            for code in codes & statuses.keys():
                assert status in statuses[code], (operation.paths, code)


def test_every_reference_leads_somewhere_and_every_operation_has_its_own_name() -> None:
    """No dangling `$ref`, no two equal operation ids, a parameter for each name in a path."""

    def references(value: Any) -> Iterator[str]:
        if isinstance(value, dict):
            yield from [value["$ref"]] if "$ref" in value else []
            for each in value.values():
                yield from references(each)
        elif isinstance(value, list):
            for each in value:
                yield from references(each)

    found = set(references(DOCUMENT))
    assert {name.rpartition("/")[2] for name in found} == set(DOCUMENT["components"]["schemas"])
    operations = [(path, each) for path, item in DOCUMENT["paths"].items() for each in item.values()]
    assert len({each["operationId"] for _, each in operations}) == len(operations)
    for path, each in operations:
        named = [one["name"] for one in each.get("parameters", []) if one["in"] == "path"]
        assert sorted(named) == sorted(re.findall(r"{(\w+)}", path))


@pytest.mark.parametrize(
    ("who", "status"), [("portal", 200), ("operator", 200), ("metrics", 200), (None, 401)]
)
def test_holders_of_any_key_may_read_it(who: str | None, status: int) -> None:
    """A key of any role is enough, and one is needed."""
    world = World()
    answer = world.call("GET", "/openapi.json", key=getattr(world, who) if who else None)
    assert answer.status_code == status
    if status == 200:
        assert (answer.headers["content-type"], answer.json()) == ("application/json", DOCUMENT)


@dataclass
class Case:
    """One request, and which operation answers it."""

    method: str
    path: str  # as in the document
    who: str | None = "portal"
    body: Any = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    content: bytes | None = None
    query: str = ""
    world: Callable[[World], object] = lambda world: None
    expect: int = 0

    def run(self) -> httpx2.Response:
        """The answer."""
        world = World()
        world.lookup.held["c9"] = change("c9")
        self.world(world)
        return world.call(
            self.method,
            self.path.format(org="default", id="c9") + self.query,
            key=getattr(world, self.who) if self.who else None,
            body=self.body,
            headers=self.headers,
            content=self.content,
        )


SEND = {"userId": USER, "password": GOOD}
SYNC = ("POST", "/sync/password")
OCTETS = ("Content-Type", "application/octet-stream")


def outcome(state: State, **more: Any) -> Callable[[World], object]:
    """Waited-for changes end so."""
    return lambda world: setattr(world.accept, "outcome", change("x", state=state, **more))


def refusal(code: str) -> Callable[[World], object]:
    """Nothing is accepted, for that reason."""
    return lambda world: setattr(world.accept, "refusal", NotAccepted(code, "No.", retry_after=1))


def failure(error: Exception) -> Callable[[World], object]:
    """Accepting fails."""
    return lambda world: setattr(world.accept, "failure", error)


LATE = Failure("user.unknown", "No such user.", "cid-1")
CASES = [
    Case(*SYNC, body=SEND, world=outcome(State.APPLIED, evidence=Evidence.CONFIRMED), expect=200),
    Case(*SYNC, body=SEND, headers=[("Prefer", "respond-async")], expect=202),
    Case("POST", "/orgs/{org}/sync/password", body=SEND, world=outcome(State.DELIVERING), expect=202),
    Case(*SYNC, body=SEND, world=outcome(State.SUPERSEDED), expect=409),
    Case(*SYNC, body=SEND, world=outcome(State.PARKED, error=LATE), expect=502),
    Case(*SYNC, body=SEND, world=outcome(State.EXPIRED), expect=502),
    Case(*SYNC, body=SEND | {"password": "short"}, expect=400),
    Case(*SYNC, body=SEND | {"userName": "a@example.com"}, expect=400),
    Case(*SYNC, body={"password": GOOD}, expect=400),
    Case(*SYNC, body=[], expect=400),
    Case(*SYNC, content=b"{", expect=400),
    Case(*SYNC, body=SEND, headers=[("Idempotency-Key", "a b")], expect=400),
    Case(*SYNC, body=SEND, headers=[("Content-Type", "text/plain")], expect=415),
    Case(*SYNC, content=b" " * 20_000, expect=413),
    Case(*SYNC, body=SEND, headers=[("Host", "example.com")], expect=421),
    Case(*SYNC, who=None, body=SEND, expect=401),
    Case(*SYNC, who="operator", body=SEND, expect=403),
    Case("POST", "/orgs/{org}/sync/password", who="emea", body=SEND, expect=403),
    *(
        Case(*SYNC, body=SEND, world=refusal(code), expect=status)
        for code, status in http_answers.NOT_ACCEPTED.items()
        if code != "policy"
    ),
    Case(*SYNC, body=SEND, world=failure(StoreFull("full")), expect=503),
    Case(*SYNC, body=SEND, world=failure(StoreBusy("busy")), expect=503),
    Case(*SYNC, body=SEND, world=failure(ValueError("defect")), expect=500),
    Case("POST", "/sync/sealed", content=b"", expect=415),
    Case("POST", "/sync/sealed", content=b"x", headers=[OCTETS], expect=400),
    Case("GET", "/sync/key", expect=404),
    Case("POST", "/policy/check", body={"password": GOOD}, expect=200),
    Case("POST", "/policy/check", body={"password": "short"}, expect=400),
    Case("POST", "/policy/check", body={"password": GOOD}, world=refusal("source.too.fast"), expect=429),
    Case("GET", "/pace", expect=200),
    Case("GET", "/orgs/{org}/pace", expect=200),
    Case("GET", "/changes/{id}", expect=200),
    Case(
        "GET",
        "/changes/{id}",
        world=lambda w: w.lookup.held.update(c9=change("c9", state=State.PARKED, error=LATE)),
        expect=200,
    ),
    Case("GET", "/changes/{id}", who="other", expect=404),
    Case("GET", "/changes", who="operator", expect=200),
    Case("GET", "/changes", who="operator", query="?org=&since=&limit=&cursor=&user=&state=", expect=200),
    Case("GET", "/changes", who="operator", query="?limit=0", expect=400),
    Case("GET", "/changes", who="operator", query="?org=nowhere", expect=403),
    Case("POST", "/changes/{id}/retry", who="operator", expect=200),
    Case("POST", "/changes/{id}/cancel", who="operator", expect=200),
    Case(
        "POST",
        "/changes/{id}/cancel",
        who="operator",
        world=lambda w: w.lookup.held.update(c9=change("c9", state=State.APPLIED)),
        expect=409,
    ),
    Case("POST", "/orgs/{org}/pause", who="operator", expect=200),
    Case("POST", "/orgs/{org}/resume", who="operator", expect=200),
    Case("GET", "/metrics", who="metrics", expect=200),
    Case("GET", "/openapi.json", expect=200),
    Case("GET", "/healthz", who=None, expect=200),
    Case("GET", "/readyz", who=None, expect=200),
    Case("GET", "/readyz", who=None, world=lambda w: w.missing.append("why"), expect=503),
    Case("GET", "/readyz", world=lambda w: w.missing.append("why"), expect=503),
]


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.method} {case.path} {case.expect}".replace("/", "_")
)
def test_answers_are_as_the_document_says(case: Case) -> None:
    """Status, media type, stated headers and body of each answer are the document's."""
    answer = case.run()
    assert answer.status_code == case.expect
    written = DOCUMENT["paths"][case.path][case.method.lower()]["responses"][str(case.expect)]
    ((media, content),) = written["content"].items()
    assert answer.headers["content-type"].partition(";")[0] == media
    assert [name for name in written.get("headers", {}) if name not in answer.headers] == []
    if media == "application/json":
        assert fits(answer.json(), content["schema"]), answer.json()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/sync/password", {"userId": USER, "password": GOOD}),
        (
            "/sync/password",
            {"userName": "a@example.com", "password": GOOD, "changedAt": "2026-01-01T00:00:00Z"},
        ),
        ("/sync/password", {"userId": USER}),
        ("/sync/password", {"password": GOOD}),
        ("/sync/password", {"userId": USER, "userName": "a@example.com", "password": GOOD}),
        ("/sync/password", {"userId": USER, "password": 1}),
        ("/sync/password", {"userId": USER, "password": GOOD, "more": "x"}),
        ("/sync/password", [USER, GOOD]),
        ("/policy/check", {"password": GOOD}),
        ("/policy/check", {"password": GOOD, "userId": USER}),
        ("/policy/check", {"password": GOOD, "userId": USER, "userName": "a@example.com"}),
        ("/policy/check", {"password": GOOD, "changedAt": "2026-01-01T00:00:00Z"}),
        ("/policy/check", {"userId": USER}),
    ],
)
def test_bodies_are_taken_as_the_document_says(path: str, body: Any) -> None:
    """What the schema admits is taken, what it does not admit is 400."""
    schema = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    taken = Case("POST", path, body=body).run().status_code in (200, 202)
    assert taken == fits(body, schema)
