"""The document of the routes held against a running gateway, with requests that nobody here thought of."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis import checks
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation import GenerationMode

from passferry.entrypoints import openapi, scim
from passferry.simulator import Settings
from process.harness import Running, StandIn, call, home

EXAMPLES = 25
"""Of each operation and kind of request; the same ones in every run."""
CANARY = "cAnary-77#"
MODES = [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
ENV = {
    "PASSFERRY_VERIFIER": "false",
    "PASSFERRY_WAIT_SECONDS": "0.1",
    "PASSFERRY_ORGS_DEFAULT_RATE": "100000",
}


@dataclass
class Live:
    """A gateway, a key of each role, and ids of changes that are there."""

    running: Running
    keys: dict[str, str]
    changes: list[str]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway with a change that ended, one that is parked, and one that waits."""
    with (
        StandIn(Settings.calm(rate=1_000_000)) as target,
        home(tmp_path_factory.mktemp("live") / "gateway", target.settings(), **ENV) as place,
    ):
        keys = {role: place.key(role, "--role", role) for role in openapi.ROLES}
        running = place.serve()
        found = Live(running, keys, [])
        for user in (target.active_users()[0][0], "11111111-2222-3333-4444-555555555555"):
            body = {"userId": user, "password": "Correct-Horse-9"}
            answer = call("POST", f"{running.url}/sync/password", key=keys["source"], body=body)
            found.changes.append(answer.json["changeId"])
        yield found


DOCUMENT = schemathesis.openapi.from_dict(openapi.document())
INBOUND = [
    openapi.Operation(
        method,
        (f"/scim/v2{path}",),
        "inbound SCIM",
        ("source",),
        {},
        body="a body" if method in ("POST", "PUT", "PATCH") else None,
    )
    for method, path in scim.OPERATIONS
]
OPERATIONS = [
    (operation, path, mode)
    for operation in (*openapi.OPERATIONS, *INBOUND)
    for path in operation.paths
    for mode in MODES
    if mode is GenerationMode.POSITIVE or operation.body or operation.parameters
]


def aimed(case: Any, live: Live, data: st.DataObject) -> None:
    """Let half of the requests name an org or a change that is there, and every password be known again."""
    for name, there in (("org", ["default"]), ("id", live.changes)):
        if name in (case.path_parameters or {}) and data.draw(st.booleans()):
            case.path_parameters[name] = data.draw(st.sampled_from(there))
    if isinstance(case.body, dict) and isinstance(case.body.get("password"), str):
        case.body["password"] += CANARY


def body_is_bad(case: Any) -> bool:
    """Whether what was made wrong on purpose is the body."""
    body = case.meta.components.get(ParameterLocation.BODY)
    return body is not None and body.mode is GenerationMode.NEGATIVE


@pytest.mark.parametrize(
    ("operation", "path", "mode"),
    OPERATIONS,
    ids=[f"{o.method}{p}-{m.value}".replace("/", "_") for o, p, m in OPERATIONS],
)
def test_a_running_gateway_answers_as_the_document_says(
    live: Live, operation: openapi.Operation, path: str, mode: GenerationMode
) -> None:
    """Status, media type, headers, body; a body that the schema forbids is refused; no password is told."""
    key = live.keys[operation.roles[0]] if operation.roles else None
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    described = DOCUMENT[path][operation.method]

    @hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
    )
    @hypothesis.given(described.as_strategy(generation_mode=mode), st.data())
    def ask(case: Any, data: st.DataObject) -> None:
        aimed(case, live, data)
        answer = case.call(base_url=live.running.url, headers=headers, timeout=30)
        assert answer.status_code != 500
        assert CANARY.encode() not in answer.content
        if b'"path.unknown"' in answer.content:
            return  # a name with a slash in it leads to no operation
        case.validate_response(answer, checks=CHECKS, headers=headers)
        if body_is_bad(case):  # 501: groups are not written here, whatever is sent
            assert 400 <= answer.status_code < 500 or answer.status_code == 501, case.body

    ask()
    assert CANARY not in live.running.log()


def test_the_served_document_is_the_one_that_was_tested(live: Live) -> None:
    """As the gateway gives it to holders of a key."""
    served = call("GET", f"{live.running.url}/openapi.json", key=live.keys["source"])
    assert served.json == json.loads(json.dumps(openapi.document()))
