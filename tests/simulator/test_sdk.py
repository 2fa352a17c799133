"""Genesys's own Python SDK drives the simulator: what it accepts was not written by us."""

import json
from collections.abc import Iterator
from typing import Any

import PureCloudPlatformClientV2 as sdk  # noqa: N813 - its name is longer than the calls
import pytest
from PureCloudPlatformClientV2.rest import ApiException

from passferry.simulator import Settings, Simulator
from simulator.caller import GOOD
from simulator.running import running

NAME = "agent001@example.com"


@pytest.fixture
def simulator() -> Simulator:
    """A calm stand-in."""
    return Simulator(Settings.calm(), users=60)


@pytest.fixture
def client(simulator: Simulator) -> Iterator[Any]:
    """The SDK with a token, pointed at the stand-in."""
    with running(simulator) as url:
        api_client = sdk.api_client.ApiClient(host=url)
        api_client.get_client_credentials_token("simulator", "simulator-secret")
        yield api_client


def find(client: Any, name: str = NAME) -> Any:
    """A user by userName, through the SDK."""
    found = sdk.SCIMApi(client).get_scim_v2_users(filter=f'userName eq "{name}"')
    assert found.total_results == 1
    return found.resources[0]


def patch_of_password(password: str) -> Any:
    """A PatchOp with a password, as the SDK builds it."""
    request, operation = sdk.ScimV2PatchRequest(), sdk.ScimV2PatchOperation()
    operation.op, operation.path, operation.value = "replace", "password", password
    request.schemas = ["urn:ietf:params:scim:api:messages:2.0:PatchOp"]
    request.operations = [operation]
    return request


def test_the_sdk_gets_a_token_and_reads_who_it_is(client: Any) -> None:
    """get_client_credentials_token against the stand-in, then GET and HEAD /api/v2/tokens/me."""
    tokens = sdk.TokensApi(client)
    info = tokens.get_tokens_me()
    assert info.o_auth_client.id == "simulator"
    assert info.organization.id == info.home_organization.id
    assert tokens.head_tokens_me() is None


def test_the_sdk_is_told_of_a_wrong_secret(simulator: Simulator) -> None:
    """The token endpoint's error reaches the SDK's exception."""
    with running(simulator) as url, pytest.raises(ApiException) as caught:
        sdk.api_client.ApiClient(host=url).get_client_credentials_token("simulator", "wrong")
    assert caught.value.status == 400
    assert json.loads(caught.value.body)["error"] == "invalid_client"


def test_the_sdk_lists_pages_and_filters(client: Any) -> None:
    """ScimUserListResponse is filled, by both trees, with paging and attribute selection."""
    scim = sdk.SCIMApi(client)
    first = scim.get_scim_v2_users()
    second = scim.get_scim_v2_users(start_index=26, count=10, attributes=["title", "displayName"])
    assert (first.items_per_page, second.items_per_page) == (25, 10)
    assert not {user.id for user in first.resources} & {user.id for user in second.resources}
    assert all(user.title and user.user_name and user.roles is None for user in second.resources)
    assert scim.get_scim_users(filter="active eq false").total_results == 60 - first.total_results


def test_the_sdk_reads_a_whole_user(client: Any) -> None:
    """Every documented attribute arrives in the SDK's model."""
    user = sdk.SCIMApi(client).get_scim_v2_user(find(client).id)
    genesys = user.urnietfparamsscimschemasextensiongenesyspurecloud2_0_user
    enterprise = user.urnietfparamsscimschemasextensionenterprise2_0_user
    assert (user.user_name, user.active, user.meta.resource_type) == (NAME, True, "User")
    assert user.meta.version.isdigit()
    assert enterprise.division
    assert genesys.external_ids[0].authority.startswith("x-pc:scimv2:v1")
    assert genesys.routing_languages[0].proficiency >= 0
    assert user.emails[0].value == NAME
    assert user.password is None


def test_the_sdk_sets_passwords_by_put_patch_and_the_native_call(client: Any, simulator: Simulator) -> None:
    """Three calls, three writes, in this order; PUT with If-Match."""
    scim = sdk.SCIMApi(client)
    user = find(client)
    user.password = GOOD + "1"
    put = scim.put_scim_v2_user(user.id, user, if_match=f'"{user.meta.version}"')
    assert int(put.meta.version) == int(user.meta.version) + 1
    scim.patch_scim_v2_user(user.id, patch_of_password(GOOD + "2"))
    body = sdk.ChangePasswordRequest()
    body.new_password = GOOD + "3"
    sdk.UsersApi(client).post_user_password(user.id, body)
    assert [write.password for write in simulator.writes(NAME)] == [GOOD + "1", GOOD + "2", GOOD + "3"]


def test_the_sdk_creates_and_deletes_a_user(client: Any, simulator: Simulator) -> None:
    """POST and DELETE."""
    scim = sdk.SCIMApi(client)
    body = sdk.ScimV2CreateUser()
    body.user_name, body.display_name, body.password = "neu@example.com", "Neu", GOOD
    created = scim.post_scim_v2_users(body)
    assert simulator.verify(created.id, GOOD)
    scim.delete_scim_v2_user(created.id)
    with pytest.raises(KeyError):
        simulator.user(created.id)


def test_the_sdk_reads_settings_limits_and_discovery(client: Any) -> None:
    """Policy, limit namespaces, provider configuration, schemas, resource types, the native user."""
    organization, scim = sdk.OrganizationApi(client), sdk.SCIMApi(client)
    rules = organization.get_organizations_authentication_settings().password_requirements
    assert (rules.minimum_length, rules.minimum_specials) == (8, 1)
    limits = organization.get_organizations_limits_namespace("platform.api").entities
    assert {limit.key: limit.value for limit in limits}["client.credentials.token.rate.per.minute"] == 300
    assert organization.get_organizations_limits_namespace_defaults("platform.api").entities
    assert scim.get_scim_v2_serviceproviderconfig().etag.supported is True
    assert len(scim.get_scim_v2_schemas().resources) == 7
    assert len(scim.get_scim_v2_resourcetypes().resources) == 5
    assert scim.get_scim_v2_groups('displayName eq "Everybody"').total_results == 1
    assert sdk.UsersApi(client).get_user(find(client).id).state == "active"


def test_the_sdk_receives_both_error_shapes(client: Any, simulator: Simulator) -> None:
    """ErrorBody for a refused password and a missing user, ScimError for a stale version."""
    scim = sdk.SCIMApi(client)
    user = find(client)
    body = sdk.ChangePasswordRequest()
    body.new_password = "short"
    with pytest.raises(ApiException) as refused:
        sdk.UsersApi(client).post_user_password(user.id, body)
    assert refused.value.status == 400
    assert json.loads(refused.value.body)["code"] == "password.too.short"
    with pytest.raises(ApiException) as missing:
        scim.get_scim_v2_user("00000000-0000-4000-8000-000000000000")
    assert json.loads(missing.value.body)["code"] == "general.resource.not.found"
    assert json.loads(missing.value.body)["contextId"] == missing.value.headers["ININ-Correlation-Id"]
    with pytest.raises(ApiException) as stale:
        scim.patch_scim_v2_user(user.id, patch_of_password(GOOD), if_match='"1000"')
    assert (stale.value.status, json.loads(stale.value.body)["scimType"]) == (409, "invalidVers")
    simulator.set(missing_permissions=["directory:user:setPassword"])
    body.new_password = GOOD
    with pytest.raises(ApiException) as forbidden:
        sdk.UsersApi(client).post_user_password(user.id, body)
    assert json.loads(forbidden.value.body)["code"] == "missing.permissions"


def test_the_sdk_waits_for_retry_after_by_itself(client: Any, simulator: Simulator) -> None:
    """Its silent retry obeys our 429, so the answer is one that urllib3 understands."""
    user = find(client)
    simulator.next("throttled_1", method="GET")
    assert sdk.SCIMApi(client).get_scim_v2_user(user.id).id == user.id
    assert simulator.stats()["statuses"]["429"] == 1
