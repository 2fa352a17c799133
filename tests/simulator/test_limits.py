"""Rate limits, permissions, settings and the other calls outside SCIM."""

from email.utils import parsedate_to_datetime

import pytest

from passferry.simulator.directory import GENESYS
from simulator.caller import GOOD, USERS, Caller, Clock, calm, inactive_user

ME = "/api/v2/tokens/me"


def statuses(caller: Caller, count: int) -> list[int]:
    """The statuses of some cheap requests."""
    return [caller.send("GET", ME).status for _ in range(count)]


def test_the_request_beyond_the_rate_gets_the_documented_429() -> None:
    """rate requests a window; the next one is told how many seconds to wait, and that wait is enough."""
    clock = Clock()
    caller = calm(clock, rate=5)
    assert statuses(caller, 5) == [200] * 5
    clock.now += 17.5
    answer = caller.send("GET", ME)
    assert (answer.status, answer.code) == (429, "too.many.requests.retry.after")
    assert answer.header("Retry-After") == "43"
    assert answer.json["message"] == "Rate limit exceeded the maximum. Retry the request in [43] seconds"
    assert caller.simulator.stats()["rateLimited"] == 1
    clock.now += 43
    assert statuses(caller, 6) == [200] * 5 + [429]


def test_the_headers_count_up_to_the_allowance_and_down_to_the_reset() -> None:
    """inin-ratelimit-count, -allowed and -reset, the last in seconds."""
    clock = Clock()
    caller = calm(clock, rate=5, window=30)
    first = caller.send("GET", ME)
    clock.now += 10
    second = caller.send("GET", ME)
    names = ("inin-ratelimit-count", "inin-ratelimit-allowed", "inin-ratelimit-reset")
    assert [first.header(name) for name in names] == ["1", "5", "30"]
    assert [second.header(name) for name in names] == ["2", "5", "20"]


@pytest.mark.parametrize(
    ("rule", "on_404", "on_429"),
    [("not-on-429", True, False), ("never", False, False), ("always", True, True)],
)
def test_rate_headers_decides_where_the_headers_appear(rule: str, on_404: bool, on_429: bool) -> None:
    """Switch rate_headers."""
    caller = calm(rate=1, rate_headers=rule)
    missing = caller.send("GET", "/api/v2/nothing")
    refused = caller.send("GET", ME)
    assert (missing.status, refused.status) == (404, 429)
    assert (missing.header("inin-ratelimit-count") is not None) is on_404
    assert (refused.header("inin-ratelimit-count") is not None) is on_429


def test_window_kind_sliding_frees_one_request_at_a_time() -> None:
    """Switch window_kind: fixed forgets all at once, sliding each after its own time."""
    for kind, expected in (("fixed", [200, 200, 429]), ("sliding", [200, 429, 429])):
        clock = Clock()
        caller = calm(clock, rate=2, window_kind=kind)
        caller.send("GET", ME)
        clock.now += 30
        caller.send("GET", ME)
        clock.now += 30
        assert statuses(caller, 3) == expected


def test_rate_per_client_joins_the_budgets_of_its_tokens() -> None:
    """Switch rate_per: a new token is a new budget, or it is not."""
    for rule, expected in (("token", 200), ("client", 429)):
        caller = calm(rate=1, rate_per=rule)
        assert caller.send("GET", ME).status == 200
        caller.fetch_token()
        assert caller.send("GET", ME).status == expected


def test_scim_rate_limits_scim_calls_alone() -> None:
    """Switch scim_rate."""
    caller = calm(scim_rate=2)
    assert [caller.send("GET", USERS, count=0).status for _ in range(3)] == [200, 200, 429]
    assert caller.send("GET", ME).status == 200
    entities = caller.send("GET", "/api/v2/organizations/limits/namespaces/scim").json["entities"]
    assert [entity["value"] for entity in entities] == [2]


def test_the_limits_endpoint_states_the_rate_a_minute() -> None:
    """The value is per minute, whatever the window; the defaults stay 300."""
    caller = calm(rate=50, window=10)
    path = "/api/v2/organizations/limits/namespaces"
    key = "client.credentials.token.rate.per.minute"

    def stated(where: str) -> object:
        return {entity["key"]: entity["value"] for entity in caller.send("GET", where).json["entities"]}.get(
            key
        )

    assert stated(f"{path}/platform.api") == 300
    assert stated(f"{path}/platform.api/defaults") == 300
    caller.simulator.set(rate=30)
    assert stated(f"{path}/platform.api") == 180
    assert caller.send("GET", f"{path}/nonsense").code == "invalid.value"
    assert "scim" in caller.send("GET", path).json["entities"]


def test_limits_stated_can_be_off() -> None:
    """Switch limits_stated: the listing is empty."""
    answer = calm(limits_stated=False).send("GET", "/api/v2/organizations/limits/namespaces/platform.api")
    assert answer.json == {"entities": []}


def test_the_password_policy_can_be_read_as_it_is_set() -> None:
    """GET authentication settings shows the rules in force, expiration_days among them."""
    caller = calm(minimum_length=12, minimum_age_seconds=60, expiration_days=90)
    rules = caller.send("GET", "/api/v2/organizations/authentication/settings").json["passwordRequirements"]
    assert (rules["minimumLength"], rules["minimumAgeSeconds"], rules["expirationDays"]) == (12, 60, 90)


def test_the_native_user_names_state_and_division() -> None:
    """GET /api/v2/users/{id} in its minimal form."""
    caller = calm()
    user = caller.send("GET", f"/api/v2/users/{inactive_user(caller)}").json
    assert user["state"] == "inactive"
    assert user["email"] == "agent002@example.com"
    assert user["division"]["name"]


def test_missing_permissions_are_403_with_the_documented_codes() -> None:
    """Switch missing_permissions: each attribute needs its own, the call itself any of seven."""
    caller = calm(missing_permissions=["directory:user:setPassword"])
    user = caller.user()
    answer = caller.native(user["id"])
    assert (answer.status, answer.code) == (403, "missing.permissions")
    assert "[directory:user:setPassword]" in answer.json["message"]
    assert caller.put(user, password=GOOD).code == "missing.permissions"
    assert caller.put(user).status == 200
    caller.simulator.set(missing_permissions=["directory:organization:admin"])
    assert caller.send("GET", "/api/v2/organizations/authentication/settings").status == 403
    everything = [
        "directory:user:setPassword",
        "directory:user:edit",
        "authorization:grant:add",
        "authorization:grant:delete",
        "routing:skill:assign",
        "routing:language:assign",
        "telephony:extension:assign",
    ]
    caller.simulator.set(missing_permissions=everything)
    assert caller.put(user, password=GOOD).code == "missing.any.permissions"


@pytest.mark.parametrize(
    "permission",
    ["directory:user:edit", "authorization:grant:add", "routing:skill:assign", "routing:language:assign"],
)
def test_permission_check_may_ask_for_attributes_that_come_back_unchanged(permission: str) -> None:
    """Switch permission_check: by default only what changed needs a permission."""
    caller = calm(missing_permissions=[permission])
    user = caller.user()
    assert caller.put(user, password=GOOD).status == 200
    caller.simulator.set(permission_check="sent")
    answer = caller.put(user, password=GOOD + "2")
    assert (answer.status, answer.code) == (403, "missing.permissions")


def test_a_changed_attribute_needs_its_permission() -> None:
    """Skills, roles and the rest are told apart."""
    caller = calm(missing_permissions=["routing:skill:assign", "authorization:grant:add"])
    user = caller.user()
    skills = user[GENESYS] | {"routingSkills": [{"name": "Chess", "proficiency": 1}]}
    assert caller.put(user, **{GENESYS: skills}).status == 403
    assert caller.put(user, roles=[{"value": "admin"}]).status == 403
    assert caller.put(user, title="Chess player").status == 200


def test_forbidden_division_refuses_writes_to_its_users_only() -> None:
    """Switch forbidden_division: missing.division.permission on all three calls, reads work."""
    caller = calm()
    caller.simulator.edit(
        "agent001@example.com",
        {"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"division": "Elsewhere"}},
    )
    caller.simulator.set(forbidden_division="Elsewhere")
    user = caller.user()
    operation = {"op": "replace", "path": "password", "value": GOOD}
    for answer in (
        caller.put(user, password=GOOD),
        caller.patch(user["id"], operation),
        caller.native(user["id"]),
    ):
        assert (answer.status, answer.code) == (403, "missing.division.permission")
    assert caller.native(caller.user("agent003@example.com")["id"]).status == 204


def test_the_date_header_follows_the_clock() -> None:
    """A client that compares clocks can be tested."""
    clock = Clock(1_900_000_000.9)
    date = calm(clock).send("GET", ME).header("Date")
    assert date is not None
    assert parsedate_to_datetime(date).timestamp() == 1_900_000_000
