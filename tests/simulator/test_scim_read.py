"""Reading users and groups, and what the service says about itself."""

import pytest

from passferry.simulator.directory import ENTERPRISE, GENESYS
from simulator.caller import USERS, Caller, calm, inactive_user


@pytest.mark.parametrize("tree", ["/api/v2/scim/v2/users", "/api/v2/scim/users"])
def test_both_trees_list_the_active_users_25_a_page(tree: str) -> None:
    """A plain list has the active users only, and 25 unless more are asked for."""
    answer = calm(users=60).send("GET", tree)
    assert answer.status == 200
    assert answer.json["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:ListResponse"]
    assert (answer.json["startIndex"], answer.json["itemsPerPage"]) == (1, 25)
    assert 50 < answer.json["totalResults"] <= 60
    assert all(user["active"] for user in answer.json["Resources"])


def test_pages_together_give_every_active_user_once() -> None:
    """startIndex and count cut the list without gap or overlap."""
    caller = calm(users=60)
    seen: list[str] = []
    while True:
        page = caller.send("GET", USERS, startIndex=len(seen) + 1, count=7).json
        if not page["Resources"]:
            break
        seen += [user["id"] for user in page["Resources"]]
    assert len(seen) == len(set(seen)) == page["totalResults"]


def test_count_0_gives_only_the_total_and_a_bad_count_is_refused() -> None:
    """count=0 is documented to return totalResults."""
    caller = calm()
    answer = caller.send("GET", USERS, count=0).json
    assert answer["Resources"] == []
    assert answer["totalResults"] > 30
    assert caller.send("GET", USERS, count="many").code == "invalid.query.param.value"


def test_page_maximum_caps_count() -> None:
    """Switch page_maximum."""
    assert calm(users=60, page_maximum=30).send("GET", USERS, count=50).json["itemsPerPage"] == 30


def test_large_pages_without_selection_can_be_throttled() -> None:
    """Switch large_pages: above 25 a page needs attribute selection, or it is 429."""
    caller = calm(users=60, large_pages="refused")
    assert caller.send("GET", USERS, count=26).status == 429
    assert caller.send("GET", USERS, count=25).status == 200
    assert caller.send("GET", USERS, count=26, attributes="id").status == 200


def test_listed_users_equal_those_read_by_id_unless_reduced() -> None:
    """Switch list_users."""
    caller = calm()
    listed = caller.send("GET", USERS, count=1).json["Resources"][0]
    single = caller.send("GET", f"{USERS}/{listed['id']}").json
    assert listed == single
    caller.simulator.set(list_users="reduced")
    listed = caller.send("GET", USERS, count=1).json["Resources"][0]
    assert set(single) - set(listed) == {"roles", "externalId"}
    assert set(listed[GENESYS]) == {"externalIds"}


def finds(caller: Caller, text: str) -> list[str]:
    """The userNames that a filter finds."""
    answer = caller.send("GET", USERS, filter=text)
    assert answer.status == 200, answer.json
    return [user["userName"] for user in answer.json["Resources"]]


@pytest.mark.parametrize(
    "text",
    [
        'userName eq "agent005@example.com"',
        'userName EQ "AGENT005@example.com"',
        "userName eq agent005@example.com",
        'urn:ietf:params:scim:schemas:core:2.0:User:userName eq "agent005@example.com"',
        'email eq "a5@work.example.com"',
        'externalId eq "hr-00005"',
        'employeeNumber eq "10005"',
        f'{ENTERPRISE}:employeeNumber eq "10005"',
        f'{GENESYS}:externalIds[authority eq "https://hr.example.com/people" and value eq "P5"]',
    ],
)
def test_every_documented_filter_finds_its_user(text: str) -> None:
    """Each filter that names one user finds exactly that one."""
    assert finds(calm(), text) == ["agent005@example.com"]


def test_filters_of_many_find_them_all() -> None:
    """id, manager, division and active work too."""
    caller = calm()
    user = caller.user("agent003@example.com")
    assert finds(caller, f'id eq "{user["id"]}"') == ["agent003@example.com"]
    manager = user[ENTERPRISE]["manager"]["value"]
    assert caller.send("GET", USERS, filter=f'manager eq "{manager}"').json["totalResults"] > 20
    division = user[ENTERPRISE]["division"]
    assert "agent003@example.com" in finds(caller, f'division eq "{division}"')


def test_inactive_users_are_found_by_active_eq_false_only() -> None:
    """Switch filter_finds_inactive: by default a filter does not see them."""
    caller = calm()
    user_id = inactive_user(caller)
    assert finds(caller, 'userName eq "agent002@example.com"') == []
    assert "agent002@example.com" in finds(caller, "active eq false")
    assert caller.send("GET", f"{USERS}/{user_id}").json["active"] is False
    caller.simulator.set(filter_finds_inactive=True)
    assert finds(caller, 'userName eq "agent002@example.com"') == ["agent002@example.com"]


@pytest.mark.parametrize(
    ("spelling", "refused"),
    [("quoted", "userName eq agent001@example.com"), ("unquoted", 'userName eq "agent001@example.com"')],
)
def test_filter_values_can_insist_on_one_spelling(spelling: str, refused: str) -> None:
    """Switch filter_values."""
    answer = calm(filter_values=spelling).send("GET", USERS, filter=refused)
    assert (answer.status, answer.json["scimType"]) == (400, "invalidFilter")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "userName",
        'userName co "a"',
        'title eq "Agent"',
        'emails[type eq "work"]',
        'userName eq "a" or id eq "b"',
        "active eq perhaps",
        'externalIds[value eq "P5"]',
    ],
)
def test_filters_that_are_not_documented_are_refused(text: str) -> None:
    """A filter beyond the documented ones is invalidFilter in a ScimError, whose status is a string."""
    answer = calm().send("GET", USERS, filter=text)
    assert answer.status == 400
    assert answer.json["scimType"] == "invalidFilter"
    assert answer.json["status"] == "400"


def test_attributes_select_and_the_always_returned_ones_stay() -> None:
    """attributes is repeatable, knows extension paths, and id, userName, active and meta come back always."""
    caller = calm()
    user_id = caller.user()["id"]
    answer = caller.send("GET", f"{USERS}/{user_id}", attributes=["title", f"{ENTERPRISE}:division"]).json
    assert set(answer) == {"schemas", "id", "userName", "active", "meta", "title", ENTERPRISE}
    assert set(answer[ENTERPRISE]) == {"division"}
    assert answer["meta"]["version"]


def test_excluded_attributes_go_and_the_always_returned_ones_stay() -> None:
    """excludedAttributes drops attributes and members of extensions, never id, userName, active, meta."""
    caller = calm()
    user_id = caller.user()["id"]
    excluded = ["id", "roles", f"{GENESYS}:routingSkills", "urn:ietf:params:scim:schemas:core:2.0:User:title"]
    answer = caller.send("GET", f"{USERS}/{user_id}", excludedAttributes=excluded).json
    assert not {"roles", "title"} & set(answer)
    assert "routingSkills" not in answer[GENESYS]
    assert answer["id"] == user_id


def test_the_etag_equals_the_version_and_if_none_match_gives_304() -> None:
    """ETag is the quoted version; a current If-None-Match has no body."""
    caller = calm()
    user = caller.user()
    path = f"{USERS}/{user['id']}"
    tag = caller.send("GET", path).header("ETag")
    assert tag == f'"{user["meta"]["version"]}"'
    unchanged = caller.send("GET", path, headers={"if-none-match": tag})
    assert (unchanged.status, unchanged.reply.body) == (304, b"")
    assert caller.send("GET", path, headers={"if-none-match": '"0"'}).status == 200


def test_quoted_version_puts_the_quotes_into_meta() -> None:
    """Switch quoted_version, also when it changes after the user was read."""
    caller = calm()
    bare = caller.user()["meta"]["version"]
    caller.simulator.set(quoted_version=True)
    assert caller.user()["meta"]["version"] == f'"{bare}"'


def test_a_missing_user_is_404_with_the_documented_code() -> None:
    """The text is the one of the document, the context id that of the header."""
    answer = calm().send("GET", f"{USERS}/00000000-0000-4000-8000-000000000000")
    assert (answer.status, answer.code) == (404, "general.resource.not.found")
    assert answer.json["message"] == "User could not be found."
    assert answer.json["status"] == 404
    assert answer.json["contextId"] == answer.header("ININ-Correlation-Id")


def test_capital_paths_are_accepted_unless_refused() -> None:
    """Switch capital_paths."""
    assert calm().send("GET", "/api/v2/scim/v2/Users").status == 200
    assert calm(capital_paths="refused").send("GET", "/api/v2/scim/v2/Users").status == 404


def test_groups_can_be_listed_and_read() -> None:
    """Groups are read-only here; the v2 tree wants a filter, the other does not."""
    caller = calm()
    groups = caller.send("GET", "/api/v2/scim/groups").json["Resources"]
    assert {group["displayName"] for group in groups} == {"Everybody", "Team leads"}
    assert caller.send("GET", "/api/v2/scim/v2/groups").status == 400
    found = caller.send("GET", "/api/v2/scim/v2/groups", filter='displayName eq "Everybody"').json[
        "Resources"
    ]
    assert caller.send("GET", f"/api/v2/scim/v2/groups/{found[0]['id']}").json == found[0]
    assert caller.user()["groups"][0]["value"] == found[0]["id"]


def test_discovery_documents_say_what_is_supported() -> None:
    """Schemas, resource types and the provider's configuration; a filter on schemas is 403."""
    caller = calm()
    config = caller.send("GET", "/api/v2/scim/v2/serviceproviderconfig").json
    assert config["patch"]["supported"]
    assert config["etag"]["supported"]
    assert not config["bulk"]["supported"]
    schemas = caller.send("GET", "/api/v2/scim/v2/schemas").json
    assert GENESYS in {schema["id"] for schema in schemas["Resources"]}
    assert caller.send("GET", f"/api/v2/scim/v2/schemas/{GENESYS}").json["name"] == "GenesysUser"
    assert caller.send("GET", "/api/v2/scim/v2/schemas", filter="x eq y").status == 403
    kinds = caller.send("GET", "/api/v2/scim/v2/resourcetypes").json["Resources"]
    assert len(kinds) == 5
    assert caller.send("GET", "/api/v2/scim/v2/resourcetypes/User").json["endpoint"] == "/users"


def test_the_same_seed_gives_the_same_users() -> None:
    """Users, ids and profiles follow from the seed alone."""
    first, second = calm(users=10), calm(users=10)
    assert first.user("agent007@example.com") == second.user("agent007@example.com")


def test_every_answer_carries_date_and_correlation_id() -> None:
    """Date comes from the simulator's clock."""
    answer = calm().send("GET", "/api/v2/nothing")
    assert answer.header("Date") == "Fri, 15 Jan 2027 08:00:00 GMT"
    assert answer.header("ININ-Correlation-Id") == answer.json["contextId"]
    assert answer.code == "not.found"


def test_no_token_and_a_bad_token_are_told_apart() -> None:
    """401 authentication.required and 401 bad.credentials."""
    caller = calm()
    assert caller.send("GET", USERS, headers={"authorization": ""}).code == "authentication.required"
    assert caller.send("GET", USERS, headers={"authorization": "Bearer nonsense"}).code == "bad.credentials"
