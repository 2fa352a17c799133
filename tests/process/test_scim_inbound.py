"""Inbound SCIM: the requests that identity providers send, through a gateway to the stand-in and back."""

import collections
import json
import unicodedata
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_models import PatchOp
from scim2_tester import CheckResult, Status, check_server, filling
from scim2_tester.checkers import patch_add, patch_replace

from passferry.simulator import Settings
from process.harness import Answer, Home, Running, StandIn, call, home, until
from process.test_scim_server import TOKEN, provider

ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GENESYS = "urn:ietf:params:scim:schemas:extension:genesys:purecloud:2.0:User"
PATCH = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
OKTA = {"User-Agent": "Okta SCIM Client 1.0.0", "Accept": "application/scim+json; charset=utf-8"}
NO_RULES = {
    f"PASSFERRY_ORGS_DEFAULT_POLICY_MINIMUM_{name}": "0" for name in ("LOWER", "UPPER", "DIGITS", "SPECIALS")
}
NO_RULES_THERE: dict[str, Any] = dict.fromkeys(
    ("minimum_lower", "minimum_upper", "minimum_digits", "minimum_specials"), 0
)


@dataclass(slots=True)
class Scene:
    """A gateway, its target, and a key."""

    target: StandIn
    place: Home
    gateway: Running
    key: str

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """A request below /scim/v2; every answer with a body has the media type of SCIM."""
        url = f"{self.gateway.url}/scim/v2{path}"
        answer = call(method, url, key=self.key, body=body, headers={**OKTA, **headers})
        if answer.raw:
            assert answer.headers["content-type"] == "application/scim+json"
        return answer

    def patch(self, user: str, *operations: Any) -> Answer:
        """PATCH of a user."""
        return self.ask("PATCH", f"/Users/{user}", {"schemas": [PATCH], "Operations": list(operations)})


@contextmanager
def scene(
    root: Path, mode: str = "passwords", settings: Settings | None = None, users: int = 20, **env: str
) -> Iterator[Scene]:
    """A running gateway in that mode."""
    more = {"PASSFERRY_ORGS_DEFAULT_SCIM": mode, "PASSFERRY_ORGS_DEFAULT_RATE": "100000"} | env
    with (
        StandIn(settings or Settings.calm(rate=1_000_000), users=users) as target,
        home(root / "gateway", target.settings(), **more) as place,
    ):
        key = place.key()
        yield Scene(target, place, place.serve(), key)


def by_name(name: str) -> str:
    """The search with which Okta looks for somebody."""
    condition = quote(f'userName eq "{name}"')
    return f"/Users?filter={condition}&startIndex=1&count=100"


# --- Okta ------------------------------------------------------------------------------------


def test_oktas_published_test_passes_in_the_mode_proxy(tmp_path: Path) -> None:
    """Its SPEC test, steps 1 to 9; only `name` is asked of the user that was created with one.

    Genesys Cloud has no `name`, and nothing is made up for it.
    """
    with scene(tmp_path, "proxy") as it:
        listed = it.ask("GET", "/Users?count=1&startIndex=1")  # 1
        assert listed.status == 200
        assert listed.json["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:ListResponse"]
        assert all(type(listed.json[name]) is int for name in ("itemsPerPage", "startIndex", "totalResults"))
        first = listed.json["Resources"][0]
        assert {"id", "userName", "active", "emails"} <= first.keys()
        assert first["emails"][0]["value"]
        read = it.ask("GET", f"/Users/{first['id']}")  # 2
        assert (read.status, read.json) == (200, first)
        nobody = f"{uuid.uuid4()}@okta.local"
        found = it.ask("GET", by_name(nobody))  # 3
        assert (found.status, found.json["totalResults"]) == (200, 0)
        unknown = it.ask("GET", "/Users/00919288221112222")  # 4
        assert (unknown.status, unknown.json["schemas"]) == (404, [ERROR])
        assert unknown.json["detail"]
        realistic = {
            "schemas": [USER],
            "userName": nobody,
            "name": {"givenName": "Test", "familyName": "User"},
            "emails": [{"primary": True, "value": nobody, "type": "work"}],
            "displayName": "Test User",
            "locale": "en-US",
            "externalId": "00ujl29u0le5T6Aj10h7",
            "groups": [],
            "password": "1mz050nq",
            "active": True,
        }
        made = it.ask("POST", "/Users", realistic)  # 5
        assert made.status == 201
        assert made.headers["location"].endswith(made.json["id"])
        echoed = {name: made.json[name] for name in ("userName", "name", "displayName", "active")}
        assert echoed == {name: realistic[name] for name in echoed}
        assert "password" not in made.json
        again = it.ask("GET", f"/Users/{made.json['id']}")  # 6
        assert (again.status, again.json) == (200, made.json)
        taken = it.ask("POST", "/Users", realistic)  # 7
        assert (taken.status, taken.json["scimType"]) == (409, "uniqueness")
        capitals = it.ask("GET", by_name(nobody.upper()))  # 8
        assert [user["id"] for user in capitals.json["Resources"]] == [made.json["id"]]
        assert it.ask("GET", "/Groups").status == 200  # 9
        assert it.target.passwords(made.json["id"]) == []


def test_okta_assigns_somebody_anew_whom_it_had_unassigned(tmp_path: Path) -> None:
    """It makes the user inactive, searches, and makes it active again, where searches hide inactive users."""
    with scene(tmp_path, "proxy") as it:
        user, name = it.target.active_users()[3]
        assert it.ask("GET", by_name("nobody@okta.local")).json["totalResults"] == 0
        for active in (False, True):
            (found,) = it.ask("GET", by_name(name)).json["Resources"]
            assert (found["id"], found["active"]) == (user, not active)
            changed = it.patch(user, {"op": "replace", "value": {"active": active}})
            assert (changed.status, changed.json["active"]) == (200, active)


def test_okta_links_an_existing_user_and_pushes_every_new_password(tmp_path: Path) -> None:
    """In the mode passwords: the probe, the search, PUT of the profile, then of passwords; then PATCH."""
    with scene(tmp_path) as it:
        user, name = it.target.active_users()[3]
        before = it.target.profile(user)
        assert it.ask("GET", "/Users?startIndex=1&count=2").json["itemsPerPage"] == 2
        (found,) = it.ask("GET", by_name(name)).json["Resources"]
        assert found["id"] == user
        whole = it.ask("GET", f"/Users/{user}").json
        profile = it.ask("PUT", f"/Users/{user}", whole | {"displayName": "From Okta", "active": False})
        assert (profile.status, profile.json["displayName"]) == (200, whole["displayName"])
        passwords = ["Okta-Password-1", "Okta-Password-2"]
        for password in passwords:
            pushed = it.ask("PUT", f"/Users/{user}", whole | {"password": password})
            assert (pushed.status, pushed.headers["passferry-change-status"]) == (200, "applied")
            assert password.encode() not in pushed.raw
        catalog = it.patch(user, {"op": "replace", "value": {"password": "Okta-Password-3"}})
        assert catalog.status == 200
        assert it.target.passwords(user) == [*passwords, "Okta-Password-3"]
        assert it.patch(user, {"op": "replace", "value": {"active": False}}).json["active"] is True
        assert it.target.profile(user) == before
        refused = it.ask("POST", "/Users", {"userName": "new@okta.local", "password": "1mz050nq"})
        assert (refused.status, refused.json["status"]) == (501, "501")


def test_the_log_says_at_the_start_who_may_provision(tmp_path: Path) -> None:
    """By name: a key of which nothing is configured may, where the org is a proxy; and nowhere else."""
    with scene(tmp_path, "proxy") as it:
        new = {"schemas": [USER], "userName": "new@okta.local", "displayName": "New"}
        assert it.ask("POST", "/Users", new).status == 201
        (line,) = it.gateway.events("scim.proxy")
        assert (line["org"], line["level"], line["sources"]) == ("default", "warning", ["tester"])
        assert "keys without scim" in line["hint"]
    (tmp_path / "dry").mkdir()
    with scene(tmp_path / "dry", "proxy", PASSFERRY_ORGS_DEFAULT_DRY_RUN="true") as it:
        assert it.gateway.events("serving")
        assert it.gateway.events("scim.proxy") == []


# --- SailPoint, JumpCloud and others ---------------------------------------------------------


@pytest.mark.parametrize("mode", ["passwords", "proxy"])
def test_every_spelling_of_a_password_arrives(tmp_path: Path, mode: str) -> None:
    """SailPoint's `add`, the path by its URN, capitals, no path; nothing else of the user changes."""
    operations: list[dict[str, Any]] = [
        {"op": "replace", "path": "password"},
        {"op": "add", "path": "password"},
        {"op": "Add", "path": f"{USER}:password"},
        {"op": "REPLACE", "value": {}},
    ]
    with scene(tmp_path, mode) as it:
        user, _ = it.target.active_users()[0]
        before = it.target.profile(user)
        sent = []
        for number, operation in enumerate(operations):
            password = f"Sent-Password-{number}"
            told = {"password": password} if "value" in operation else password
            answer = it.patch(user, operation | {"value": told})
            assert (answer.status, answer.headers["passferry-change-status"]) == (200, "applied")
            assert answer.json["id"] == user
            sent.append(password)
        assert it.target.passwords(user) == sent
        assert it.target.profile(user) == before


@pytest.mark.parametrize("mode", ["passwords", "proxy"])
def test_sailpoints_connector_looks_aggregates_and_sets_passwords(tmp_path: Path, mode: str) -> None:
    """Its test of the connection, accounts by pages, groups, a password by PUT and one by PATCH `add`."""
    with scene(tmp_path, mode) as it:
        for path in ("/ServiceProviderConfig", "/ResourceTypes", "/Schemas"):
            assert it.ask("GET", path).status == 200
        found: list[dict[str, Any]] = []
        total = 1
        while len(found) < total:
            page = it.ask("GET", f"/Users?startIndex={len(found) + 1}&count=7").json
            found, total = [*found, *page["Resources"]], page["totalResults"]
            assert page["Resources"]
        assert len({each["id"] for each in found}) == total
        groups = it.ask("GET", "/Groups?startIndex=1&count=25")
        assert groups.status == 200
        user, name = it.target.active_users()[0]
        assert [each["id"] for each in found if each["userName"] == name] == [user]
        before = it.target.profile(user)
        whole = it.ask("GET", f"/Users/{user}").json
        assert it.ask("PUT", f"/Users/{user}", whole | {"password": "By-Put-Passw0rd-1"}).status == 200
        added = {"op": "add", "path": "password", "value": "By-Patch-Passw0rd-2"}
        assert it.patch(user, added).status == 200
        assert it.target.passwords(user) == ["By-Put-Passw0rd-1", "By-Patch-Passw0rd-2"]
        assert it.target.profile(user) == before
        assert "password" not in it.ask("GET", f"/Users/{user}").json


def test_jumpclouds_activation_probe_leaves_nothing_behind(tmp_path: Path) -> None:
    """In the mode proxy a test user is made, changed, deactivated and deleted; groups cannot be made."""
    with scene(tmp_path, "proxy") as it:
        users = it.ask("GET", "/Users?startIndex=1&count=100").json["totalResults"]
        name = "jumpcloud-test@example.com"
        assert it.ask("GET", by_name(name)).json["totalResults"] == 0
        new = {"schemas": [USER], "userName": name, "displayName": "Test", "active": True, "password": "x"}
        made = it.ask("POST", "/Users", new)
        assert made.status == 201
        place = f"/Users/{made.json['id']}"
        assert it.ask("PUT", place, made.json | {"title": "Changed"}).json["title"] == "Changed"
        off = it.patch(made.json["id"], {"op": "replace", "value": {"active": False}})
        assert (off.status, off.json["active"]) == (200, False)
        group = it.ask("POST", "/Groups", {"displayName": "JumpCloud test"})
        assert (group.status, group.json["schemas"]) == (501, [ERROR])
        assert it.ask("DELETE", place).status == 204
        assert it.ask("GET", place).status == 404
        assert it.ask("GET", "/Users?startIndex=1&count=100").json["totalResults"] == users


def test_what_a_provider_does_is_in_the_trail_and_ends_with_its_hour(tmp_path: Path) -> None:
    """A user is made and deactivated, members and deletions are refused; then the source has sent too many.

    The trail verifies, is exported with it, and names no value; the target was not asked once more.
    """
    with scene(tmp_path, "proxy", PASSFERRY_SOURCES_TESTER_MOST_AN_HOUR="4") as it:
        new = {"schemas": [USER], "userName": "leaver@example.com", "displayName": "Leaver"}
        new["title"] = "Confidential title"
        made = it.ask("POST", "/Users", new)
        assert made.status == 201, made.json
        user = made.json["id"]
        group = it.ask("GET", "/Groups").json["Resources"][0]["id"]
        added = {"op": "add", "path": "members", "value": [{"value": user}]}
        joined = it.ask("PATCH", f"/Groups/{group}", {"schemas": [PATCH], "Operations": [added]})
        assert joined.status == 501  # the stand-in's groups are for reading
        assert it.patch(user, {"op": "replace", "path": "active", "value": False}).status == 200
        assert it.ask("DELETE", f"/Users/{user}", **{"If-Match": '"999"'}).status == 412
        stopped = it.ask("DELETE", f"/Users/{user}")
        assert (stopped.status, "source.stopped" in stopped.json["detail"]) == (429, True)
        assert it.ask("GET", f"/Users/{user}").status == 200
        assert it.place.run("audit", "verify").code == 0
        exported = it.place.run("audit", "export", "-").out
    records = [json.loads(line) for line in exported.splitlines()]
    passed = [each for each in records if str(each.get("kind")).startswith("passed.on")]
    begun, ended = passed[::2], passed[1::2]
    told = [json.loads(each["other"]) for each in begun]
    assert [(each["method"], each["kind"]) for each in told] == [
        ("POST", "Users"),
        ("PATCH", "Groups"),
        ("PATCH", "Users"),
        ("DELETE", "Users"),
    ]
    assert [each.get("attributes", []) for each in told] == [
        ["displayName", "title", "userName"],
        ["members"],
        ["active"],
        [],
    ]
    assert (told[1]["id"], told[1]["members"]) == (group, [user])
    assert [each["change_id"] for each in begun] == [each["change_id"] for each in ended]
    assert [each["state"] for each in ended] == ["done", "refused", "done", "refused"]
    assert [each.get("user") for each in ended] == [user, None, user, user]
    assert {each["actor"] for each in passed} == {"tester"}
    assert all(each["correlation_id"] for each in ended)
    assert "source.stopped" in [each.get("kind") for each in records]
    assert "Confidential" not in exported.decode()


def test_a_put_of_everything_brings_profile_and_password(tmp_path: Path) -> None:
    """midPoint and PingDataSync send whole users; without a password it stays what it was."""
    with scene(tmp_path, "proxy") as it:
        user, _ = it.target.active_users()[0]
        whole = it.ask("GET", f"/Users/{user}")
        version = {"If-Match": whole.headers["etag"]}
        sent = whole.json | {"title": "Chief", "password": "Whole-Password-1"}
        answer = it.ask("PUT", f"/Users/{user}", sent, **version)
        assert (answer.status, answer.json["title"]) == (200, "Chief")
        stale = it.ask("PUT", f"/Users/{user}", sent | {"title": "Stale"}, **version)
        assert (stale.status, stale.json["scimType"]) == (412, "invalidVers")
        now = {"If-Match": answer.headers["etag"]}
        assert it.ask("PUT", f"/Users/{user}", whole.json | {"title": "Boss"}, **now).status == 200
        assert it.target.passwords(user) == ["Whole-Password-1"]
        assert json.loads(it.target.profile(user))["title"] == "Boss"


def test_a_push_of_what_a_provider_maps_takes_no_role_and_no_skill_from_an_agent(tmp_path: Path) -> None:
    """Okta sends every password with the whole user as it knows it; the stand-in clears what a PUT omits."""
    with scene(tmp_path, "proxy", Settings.calm(rate=1_000_000, put_omitted="cleared")) as it:
        for user, name in it.target.active_users()[:8]:
            before = json.loads(it.target.profile(user))
            mapped = {"schemas": [USER], "userName": name, "displayName": "From Okta", "active": True}
            sent = it.ask("PUT", f"/Users/{user}", mapped | {"password": "Mapped-Password-1"})
            assert (sent.status, sent.headers["passferry-change-status"]) == (200, "applied")
            after = json.loads(it.target.profile(user))
            assert after == before | {"displayName": "From Okta"}
            assert it.target.passwords(user) == ["Mapped-Password-1"]


@pytest.mark.parametrize(
    "password",
    [
        "Pässwörd-9-ĄŻ",
        " Spaces-at-both-9 ",
        "-Leading-dash-9",
        "Quotes-'\"`$\\-9",
        "Emoji-\U0001f600-Aa9",
        unicodedata.normalize("NFC", "é-Composed-9"),
        unicodedata.normalize("NFD", "é-Composed-9"),
        "A" * 255 + "a-9" + "b" * 254,
    ],
    ids=lambda text: text.encode("unicode_escape").decode()[:14],
)
def test_a_password_arrives_exactly_as_it_was_sent(long_lived: Scene, password: str) -> None:
    """Not one character is trimmed or normalized, and none is in the answer."""
    it = long_lived
    user, _ = it.target.active_users()[1]
    answer = it.ask("PUT", f"/Users/{user}", {"schemas": [USER], "password": password})
    assert answer.status == 200, answer.raw
    assert it.target.passwords(user)[-1] == password
    for form in (password, json.dumps(password)[1:-1]):
        assert form.encode() not in answer.raw


@pytest.fixture(scope="module")
def long_lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One gateway for many small questions; long passwords are allowed."""
    settings = Settings.calm(rate=1_000_000, maximum_length=512)
    root = tmp_path_factory.mktemp("scim")
    with scene(root, "proxy", settings, PASSFERRY_ORGS_DEFAULT_POLICY_MAXIMUM_LENGTH="512") as it:
        yield it


def test_duplicates_and_quick_successors_leave_the_newest_password(long_lived: Scene) -> None:
    """The same once more is no second write; of two, the later one stays."""
    it = long_lived
    user, _ = it.target.active_users()[2]
    for password in ("Twice-Sent-1", "Twice-Sent-1", "Later-Sent-2"):
        assert it.patch(user, {"op": "add", "path": "password", "value": password}).status == 200
    assert it.target.passwords(user) == ["Twice-Sent-1", "Later-Sent-2"]


def test_what_the_target_refuses_is_an_error_and_what_it_cannot_take_now_arrives_later(
    long_lived: Scene,
) -> None:
    """400 with the target's code; while it is down 200, and the password follows."""
    it = long_lived
    user, name = it.target.active_users()[4]
    replace = {"op": "replace", "path": "password"}
    assert it.patch(user, replace | {"value": "Before-Outage-1"}).status == 200
    refused = it.patch(user, replace | {"value": "Password1!"})
    assert (refused.status, refused.json["scimType"]) == (400, "invalidValue")
    assert "password.compromised" in refused.json["detail"]
    port = it.target.hush()
    try:
        body = {"userName": name, "schemas": [USER], "password": "During-Outage-2"}
        pending = it.ask("PATCH", f"/Users/{user}", {"Operations": [replace | {"value": body["password"]}]})
        assert (pending.status, pending.headers["passferry-change-status"]) == (200, "pending")
        assert pending.json == {"schemas": [USER], "id": user}
        assert it.ask("GET", f"/Users/{user}").status == 503
    finally:
        it.target.do(lambda s: s.set(latency=0.0))
        it.target.listen(port)
    until(lambda: it.target.passwords(user)[-1] == "During-Outage-2", 30, "the delivery")


def test_a_whole_user_that_comes_in_an_outage_costs_no_password_and_is_sent_again(long_lived: Scene) -> None:
    """503 that names the change; the password follows by itself, the rest when the provider repeats it."""
    it = long_lived
    user, name = it.target.active_users()[5]
    whole = {"schemas": [USER], "userName": name, "displayName": "Told-twice", "active": True}
    whole |= {"password": "In-The-Outage-3"}
    port = it.target.hush()
    try:
        told = it.ask("PUT", f"/Users/{user}", whole)
        assert (told.status, told.headers["passferry-change-status"]) == (503, "pending")
        assert told.json["detail"].endswith("The password was accepted.")
    finally:
        it.target.do(lambda s: s.set(latency=0.0))
        it.target.listen(port)
    until(lambda: it.target.passwords(user) == ["In-The-Outage-3"], 30, "the delivery")
    answers = [told]

    def repeated() -> bool:
        answers.append(it.ask("PUT", f"/Users/{user}", whole))
        return answers[-1].status == 200

    until(repeated, 60, "an answer from the target")
    assert answers[-1].headers["passferry-change-status"] == "applied"
    assert {answer.headers["passferry-change-id"] for answer in answers} == {
        told.headers["passferry-change-id"]
    }
    assert json.loads(it.target.profile(user))["displayName"] == "Told-twice"
    assert it.target.passwords(user) == ["In-The-Outage-3"]


def test_in_a_dry_run_nothing_is_passed_on(tmp_path: Path) -> None:
    """The mode proxy counts as passwords then."""
    with scene(tmp_path, "proxy", PASSFERRY_ORGS_DEFAULT_DRY_RUN="true") as it:
        user, _ = it.target.active_users()[0]
        before = it.target.profile(user)
        whole = it.ask("GET", f"/Users/{user}").json
        assert it.ask("PUT", f"/Users/{user}", whole | {"title": "X", "password": "Dry-Run-12"}).status == 200
        assert it.ask("DELETE", f"/Users/{user}").status == 501
        assert (it.target.profile(user), it.target.passwords(user)) == (before, [])


# --- a client and a tester that nobody here wrote --------------------------------------------


def checked(url: str, key: str, monkeypatch: pytest.MonkeyPatch) -> list[CheckResult]:
    """What scim2-tester says.

    It has no values for decimal numbers, so it is given one. And its users are active: others are not in the
    target's list, and get no password.
    """
    plain = filling.generate_random_value

    def value(context: Any, path: Any, *rest: Any, **more: Any) -> Any:
        binding = path.resolve()
        if binding is not None and binding.target_type is float:
            return 2.5
        if str(path) == "active":
            return True
        return plain(context, path, *rest, **more)

    for module in (filling, patch_add, patch_replace):
        monkeypatch.setattr(module, "generate_random_value", value)
    headers = {"Authorization": f"Bearer {key}"}
    with httpx2.Client(base_url=f"{url}/scim/v2", headers=headers, timeout=30) as http:
        found: list[CheckResult] = check_server(SyncSCIMClient(http))
    return found


def failures(results: list[CheckResult]) -> set[tuple[str, str]]:
    """The checks that failed, and of which attribute."""
    bad = [one for one in results if one.status in (Status.ERROR, Status.CRITICAL, Status.DEVIATION)]
    return {(one.title or "", str((one.data or {}).get("urn"))) for one in bad}


def test_scim2_tester_passes_over_the_stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of its checks, but for what is so at Genesys Cloud.

    Each user has an e-mail address and an external id that cannot be removed, so that a list is never just
    what was sent. And `add` appends to a list (RFC 7644 §3.5.2.1), which the tester does not expect of a list
    that it has filled before.
    """
    env = NO_RULES | {"PASSFERRY_VERIFIER": "false"}
    settings = Settings.calm(rate=1_000_000, **NO_RULES_THERE)
    with scene(tmp_path, "proxy", settings, users=3, **env) as it:  # plain ones; others have odd attributes
        results = checked(it.gateway.url, it.key, monkeypatch)
    immutable = ("emails", GENESYS, f"{GENESYS}:externalIds")
    expected = {(f"check_{op}_attribute", name) for op in ("add", "remove", "replace") for name in immutable}
    expected |= {
        ("check_add_attribute", f"{GENESYS}:{name}") for name in ("routingSkills", "routingLanguages")
    }
    assert failures(results) == expected
    counts = collections.Counter(one.status for one in results)
    assert (counts[Status.SUCCESS], counts[Status.SKIPPED]) == (76, 1)  # skipped: POST /.search


def test_scim2_tester_passes_over_another_provider(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every check, groups included, where the target has no peculiarities."""
    with provider() as (url, _):
        target = {
            "PASSFERRY_ORGS_DEFAULT_TARGET": "scim",
            "PASSFERRY_ORGS_DEFAULT_BASE_URL": url,
            "PASSFERRY_ORGS_DEFAULT_TOKEN": TOKEN,
            "PASSFERRY_ORGS_DEFAULT_SCIM": "proxy",
            "PASSFERRY_ORGS_DEFAULT_RATE": "100000",
            "PASSFERRY_VERIFIER": "false",
        }
        with home(tmp_path / "gateway", target, **NO_RULES) as place:
            key = place.key()
            results = checked(place.serve().url, key, monkeypatch)
    assert failures(results) == set()
    counts = collections.Counter(one.status for one in results)
    assert (counts[Status.SUCCESS], counts[Status.SKIPPED]) == (131, 2)


def test_scim2_client_finds_changes_and_replaces_a_user_with_versions(tmp_path: Path) -> None:
    """It discovers what there is, sends If-Match by itself, and reads every answer strictly."""
    with scene(tmp_path, "proxy") as it:
        user_id, name = it.target.active_users()[0]
        headers = {"Authorization": f"Bearer {it.key}"}
        with httpx2.Client(base_url=f"{it.gateway.url}/scim/v2", headers=headers, timeout=30) as http:
            client: Any = SyncSCIMClient(http)
            client.discover()
            model: Any = client.get_resource_model("User")
            user = client.query(model, user_id)
            assert user.user_name == name
            operation = {"op": "replace", "path": "password", "value": "Client-Password-1"}
            patch: Any = PatchOp[model]
            sent = patch.model_validate({"schemas": [PATCH], "Operations": [operation]})
            assert client.modify(model, user_id, sent).id == user_id
            user = client.query(model, user_id)
            user.title, user.password = "Replaced", "Client-Password-2"
            replaced = client.replace(user)
            assert (replaced.title, replaced.password) == ("Replaced", None)
        assert it.target.passwords(user_id) == ["Client-Password-1", "Client-Password-2"]
