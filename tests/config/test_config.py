"""Configuration: what it gives, and what it says when it is wrong."""

import pickle
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from passferry.config import ConfigError, OrgSettings, Problem, Secret, Settings, load
from passferry.config.keys import GENERAL, GENESYS_VARIABLES, ORG, SOURCE, variable
from passferry.config.regions import REGIONS
from passferry.domain.policy import Rules
from passferry.domain.source_rules import SourceRules

SECRET = "canary-s3cret"
HOME = {"HOME": "/home/someone"}
ONE_ORG = HOME | {
    "GENESYS_CLIENT_ID": "client",
    "GENESYS_CLIENT_SECRET": SECRET,
    "GENESYS_REGION": "us-east-1",
}
DOCUMENT = Path(__file__).resolve().parent.parent.parent / "docs" / "configuration.md"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No passferry.toml lies about unless a test puts one there."""
    monkeypatch.chdir(tmp_path)


def wrong(env: Mapping[str, str], config: Path | None = None, *, orgs_required: bool = False) -> str:
    """All that is said about a wrong configuration, which never holds the secret."""
    with pytest.raises(ConfigError) as caught:
        load(env, config, orgs_required=orgs_required)
    said = str(caught.value)
    assert all(problem.what and problem.hint for problem in caught.value.problems)
    assert SECRET not in said + repr(caught.value) + repr(caught.value.__context__)
    return said


def written(text: str) -> Path:
    """A configuration file with that text."""
    path = Path("given.toml")
    path.write_text(text)
    return path


def default(settings: Settings) -> OrgSettings:
    """The org of one-org set-ups."""
    return settings.orgs["default"]


def revealed(secret: Secret | None) -> str:
    """The text of a secret that must be there."""
    assert secret is not None
    return secret.reveal()


# --- what it gives ---------------------------------------------------------------------------


def test_three_variables_are_enough() -> None:
    """Client id, secret and region alone give a complete org with the documented defaults."""
    settings = load(ONE_ORG, orgs_required=True)
    org = default(settings)
    assert (org.api_url, org.login_url) == ("https://api.mypurecloud.com", "https://login.mypurecloud.com")
    assert (org.client_id, revealed(org.client_secret)) == ("client", SECRET)
    assert (org.target, org.write, org.rate, org.time_to_live) == ("genesys", "scim-put", 300, 72 * 3600)
    assert settings.listen == ("127.0.0.1", 8080)
    assert settings.state_dir == Path("/home/someone/.local/state/passferry")
    assert settings.key_file == Path("/home/someone/.config/passferry/keys")
    assert org.policy == Rules()


def test_the_aliases_of_genesys_tools_work() -> None:
    """The variables of Genesys's own tools mean the same."""
    env = HOME | {
        "GENESYSCLOUD_OAUTHCLIENT_ID": "client",
        "GENESYSCLOUD_OAUTHCLIENT_SECRET": SECRET,
        "GENESYSCLOUD_REGION": "mypurecloud.com",
    }
    assert default(load(env)).client_id == "client"
    assert "both set and differ" in wrong(env | {"GENESYS_CLIENT_ID": "another"})
    assert default(load(env | {"GENESYS_CLIENT_ID": "client"})).client_id == "client"


@pytest.mark.parametrize(("region", "domain"), REGIONS.items())
def test_every_region_is_known_by_id_and_by_domain(region: str, domain: str) -> None:
    """AWS id and Genesys domain lead to the same hosts, in any case of letters."""
    for text in (region, domain, domain.upper()):
        org = default(load(ONE_ORG | {"GENESYS_REGION": text}))
        assert (org.api_url, org.login_url) == (f"https://api.{domain}", f"https://login.{domain}")


def test_an_unknown_region_gets_a_proposal() -> None:
    """A slip in the region is an error that proposes the near one."""
    assert "did you mean us-east-1" in wrong(ONE_ORG | {"GENESYS_REGION": "us-eest-1"})
    assert "GENESYS_API_URL" in wrong(ONE_ORG | {"GENESYS_REGION": "atlantis"})


@pytest.mark.parametrize(
    ("subdomain", "domain"),
    [
        ("usw2", "usw2.pure.cloud"),
        ("api.usw2", "usw2.pure.cloud"),
        ("USW2.pure.cloud", "usw2.pure.cloud"),
        ("api.mypurecloud.de", "mypurecloud.de"),
        ("api", "mypurecloud.com"),
    ],
)
def test_an_old_subdomain_that_names_a_region_works(subdomain: str, domain: str) -> None:
    """A host part of exactly one region stands for it."""
    env = {name: value for name, value in ONE_ORG.items() if name != "GENESYS_REGION"}
    assert default(load(env | {"GENESYS_SUBDOMAIN": subdomain})).api_url == f"https://api.{domain}"


@pytest.mark.parametrize(
    "subdomain", ["acme", "mypurecloud", "pure.cloud", "cloud", "evil.example", "https://api"]
)
def test_any_other_subdomain_is_an_error_that_names_the_region(subdomain: str) -> None:
    """What fits no region or several points to GENESYS_REGION, even beside a good region."""
    assert "GENESYS_REGION" in wrong(ONE_ORG | {"GENESYS_SUBDOMAIN": subdomain})


def test_region_and_subdomain_must_agree() -> None:
    """Naming two regions is an error; naming one twice is not."""
    assert "different regions" in wrong(ONE_ORG | {"GENESYS_SUBDOMAIN": "usw2"})
    assert default(load(ONE_ORG | {"GENESYS_SUBDOMAIN": "api"})).api_url == "https://api.mypurecloud.com"


def test_both_hosts_can_be_overridden() -> None:
    """Https anywhere and http on loopback are taken, instead of the region's hosts."""
    urls = {"GENESYS_API_URL": "http://127.0.0.1:8090/", "GENESYS_LOGIN_URL": "HTTPS://Proxy.example"}
    org = default(load(ONE_ORG | urls))
    assert (org.api_url, org.login_url) == ("http://127.0.0.1:8090", "https://proxy.example")


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "http://127.0.0.1.example.com",
        "https://user@example.com",
        f"https://user:{SECRET}@example.com",
        "https://example.com/api",
        "https://example.com?x=1",
        "https://example.com?",
        "https://example.com#x",
        "https://",
        "https://[::1",
        "https://example.com:port",
        "https://example.com:99999",
        "ftp://localhost",
        "example.com",
        "//example.com",
        "https://exam\nple.com",
    ],
)
def test_an_override_that_is_no_plain_host_is_refused(url: str) -> None:
    """User, path, query, plain http elsewhere and whatever is no address: refused, and not repeated."""
    said = wrong(ONE_ORG | {"GENESYS_API_URL": url, "GENESYS_LOGIN_URL": "https://example.com"})
    assert "GENESYS_API_URL" in said


@pytest.mark.parametrize("name", ["GENESYS_API_URL", "GENESYS_LOGIN_URL"])
def test_one_override_alone_is_refused(name: str) -> None:
    """With one host overridden the credentials would go to the other, real one."""
    assert f"{name} is given alone" in wrong(ONE_ORG | {name: "https://example.com"})


def test_a_file_gives_several_orgs_and_the_environment_overrides_it() -> None:
    """Tables of orgs, a policy, a SCIM target; variables win over the file, key by key."""
    path = written(
        f"""
        listen = "[::1]:0"
        verifier = false
        [orgs.emea-2]
        region = "eu-central-1"
        client_id = "client"
        client_secret = "{SECRET}"
        time_to_live = "3d"
        policy = {{ minimum_length = 12, ascii_only = false }}
        [orgs.lab]
        target = "scim"
        write = "scim-patch"
        base_url = "https://scim.example.com/v2/"
        token = "{SECRET}"
        """
    )
    settings = load(HOME | {"PASSFERRY_ORGS_EMEA_2_RATE": "60", "PASSFERRY_VERIFIER": "yes"}, path)
    emea, lab = settings.orgs["emea-2"], settings.orgs["lab"]
    assert (settings.listen, settings.verifier) == (("::1", 0), True)
    assert (emea.time_to_live, emea.rate) == (3 * 86_400, 60)
    assert emea.policy == Rules(minimum_length=12, ascii_only=False)
    assert (lab.base_url, revealed(lab.token), lab.write) == (
        "https://scim.example.com/v2",
        SECRET,
        "scim-patch",
    )


def test_the_file_is_found_where_it_is_promised(tmp_path: Path) -> None:
    """The argument, else PASSFERRY_CONFIG, else passferry.toml in the current folder."""
    for name, port in (("passferry.toml", 1), ("variable.toml", 2), ("argument.toml", 3)):
        (tmp_path / name).write_text(f'listen = "127.0.0.1:{port}"')
    env = HOME | {"PASSFERRY_CONFIG": str(tmp_path / "variable.toml")}
    assert load(HOME).listen[1] == 1
    assert load(env).listen[1] == 2
    assert load(env, tmp_path / "argument.toml").listen[1] == 3


def test_secrets_come_from_files_too(tmp_path: Path) -> None:
    """…_FILE variables and …_file keys are read; one newline at the end is dropped, nothing else."""
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "secret").write_text(f" {SECRET} \n")
    env = {name: value for name, value in ONE_ORG.items() if name != "GENESYS_CLIENT_SECRET"}
    named = str(tmp_path / "sub" / "secret")
    for name in (
        "GENESYS_CLIENT_SECRET_FILE",
        "GENESYSCLOUD_OAUTHCLIENT_SECRET_FILE",
        "PASSFERRY_ORGS_DEFAULT_CLIENT_SECRET_FILE",
    ):
        assert revealed(default(load(env | {name: named})).client_secret) == f" {SECRET} "
    config = tmp_path / "sub" / "passferry.toml"
    config.write_text('[orgs.default]\nclient_secret_file = "secret"')
    assert revealed(default(load(env, config)).client_secret) == f" {SECRET} "


def test_places_follow_systemd_and_the_xdg_specification() -> None:
    """STATE_DIRECTORY first, then absolute XDG folders; a relative XDG folder is ignored."""
    xdg = {"XDG_STATE_HOME": "/s", "XDG_CONFIG_HOME": "/c"}
    assert load(HOME | xdg).state_dir == Path("/s/passferry")
    assert load(HOME | xdg).key_file == Path("/c/passferry/keys")
    assert load(HOME | xdg | {"STATE_DIRECTORY": "/var/lib/passferry:/x"}).state_dir == Path(
        "/var/lib/passferry"
    )
    assert load(HOME | {"XDG_STATE_HOME": "s"}).state_dir == Path("/home/someone/.local/state/passferry")
    assert load(HOME | {"PASSFERRY_KEY_FILE": "~/k"}).key_file == Path("/home/someone/k")
    said = wrong({})
    assert "PASSFERRY_STATE_DIR" in said
    assert "PASSFERRY_KEY_FILE" in said


def test_every_key_can_be_set_by_its_variable() -> None:
    """The mechanical variable of each key of an org reaches that key; policies of orgs with hyphens too."""
    env = HOME | {
        variable("orgs.emea-2.region"): "us-east-1",
        variable("orgs.emea-2.client_id"): "client",
        variable("orgs.emea-2.client_secret"): SECRET,
        **{
            variable(f"orgs.emea-2.policy.{part.name}"): "9"
            for part in fields(Rules)
            if part.name != "ascii_only"
        },
    }
    policy = load(env).orgs["emea-2"].policy
    assert {getattr(policy, part.name) for part in fields(Rules)} == {9, True}


def test_an_empty_variable_is_an_unset_one() -> None:
    """A compose file that passes empty variables changes nothing."""
    assert load(ONE_ORG | {"GENESYS_RATE": "", "PASSFERRY_LISTEN": ""}) is not None
    assert "has no client_id" in wrong(ONE_ORG | {"GENESYS_CLIENT_ID": ""})


# --- what it says when it is wrong -----------------------------------------------------------


def test_all_mistakes_are_reported_together() -> None:
    """Every mistake of file and environment is in the one error."""
    path = written(
        """
        lisen = "x"
        verifier = 3
        wait_seconds = 16
        queue_limit = 1.5
        log_format = "xml"
        [orgs.default]
        regoin = "us-east-1"
        time_to_live = "1y"
        policy = { minimum_length = 500, minimum_uper = 1 }
        [orgs."Not A Name"]
        target = "scim"
        write = "native"
        region = "us-east-1"
        """
    )
    said = wrong(
        HOME | {"GENESYS_RATE": "-1", "PASSFERRY_ORGS_DEFAULT_NOPE": "1", "PASSFERRY_KEYFILE": "x"}, path
    )
    for part in (
        "did you mean listen?",
        "verifier in given.toml is neither true nor false",
        "wait_seconds in given.toml is no number from 0 to 15",
        "queue_limit in given.toml is no whole number",
        "log_format in given.toml is none of",
        "did you mean region?",
        "time_to_live in given.toml is no time",
        "did you mean policy.minimum_upper?",
        "no password can be long enough",
        "is no name for an org",
        "has no base_url",
        "has no token",
        "is native",
        'orgs.Not A Name.region in given.toml has no meaning with target = "scim"',
        "GENESYS_RATE is no number",
        "PASSFERRY_ORGS_DEFAULT_NOPE names no key",
        "did you mean PASSFERRY_KEY_FILE?",
        "org default has no client_id",
        "org default has no client_secret",
        "org default has no region",
    ):
        assert part in said


def test_no_org_is_a_mistake_only_where_one_is_needed() -> None:
    """Commands that need no org work without; others say which variables to set."""
    assert load(HOME).orgs == {}
    assert "GENESYS_CLIENT_ID" in wrong(HOME, orgs_required=True)


def test_two_orgs_of_one_host_and_client_are_a_mistake() -> None:
    """The same credentials at the same host, however they are written, are one org."""
    same = f'client_id = "client"\nclient_secret = "{SECRET}"\n'
    path = written(f'[orgs.a]\nregion = "us-east-1"\n{same}[orgs.b]\nregion = "mypurecloud.com"\n{same}')
    assert "orgs a and b have the same host" in wrong(HOME, path)
    path = written(f'[orgs.a]\nregion = "us-east-1"\n{same}[orgs.b]\nregion = "us-west-2"\n{same}')
    assert len(load(HOME, path).orgs) == 2


@pytest.mark.parametrize(
    ("plain", "odd"),
    [
        ("https://target.example/scim", "https://TARGET.example:443/scim/"),
        ("http://127.0.0.1/scim", "http://127.0.0.1:80/scim"),
        ("http://[::1]/scim", "http://[::1]:80/scim"),
    ],
)
def test_the_port_that_the_scheme_means_anyway_makes_no_other_host(plain: str, odd: str) -> None:
    """Of a SCIM target as of a Genesys Cloud org; any other port does."""

    def text(scim: str) -> str:
        same = f'target = "scim"\ntoken = "{SECRET}"\n'
        return f'[orgs.a]\nbase_url = "{plain}"\n{same}[orgs.b]\nbase_url = "{scim}"\n{same}'

    assert "have the same host" in wrong(HOME, written(text(odd)))
    other = odd.replace(":443", ":444").replace(":80/", ":81/")
    assert len(load(HOME, written(text(other))).orgs) == 2
    hosts = {"GENESYS_API_URL": "https://api.example:443", "GENESYS_LOGIN_URL": "https://login.example:8443"}
    org = default(load(ONE_ORG | hosts))
    assert (org.api_url, org.login_url) == ("https://api.example", "https://login.example:8443")


@pytest.mark.parametrize(
    "text",
    [f'client_secret = "{SECRET}', f"{SECRET}", f'x = "{SECRET}" y', "[" * 2_000, "orgs = 1", "orgs.a = 1"],
)
def test_a_torn_file_is_one_clear_mistake(text: str) -> None:
    """What is no TOML, or no table of orgs, is said without repeating the text."""
    assert "given.toml" in wrong(HOME, written(text))


def test_files_that_cannot_be_read_are_mistakes(tmp_path: Path) -> None:
    """A missing file, a folder, bytes that are no UTF-8 and an empty secret are each said plainly."""
    assert "cannot read the configuration file" in wrong(HOME, tmp_path / "none.toml")
    assert "it is a folder" in wrong(HOME, tmp_path)
    odd = tmp_path / "odd"
    odd.write_bytes(b"\xff" + SECRET.encode())
    assert "not UTF-8" in wrong(HOME, odd)
    odd.write_text("\n")
    env = {name: value for name, value in ONE_ORG.items() if name != "GENESYS_CLIENT_SECRET"}
    assert "is empty" in wrong(env | {"GENESYS_CLIENT_SECRET_FILE": str(odd)})
    assert "No such file" in wrong(env | {"GENESYS_CLIENT_SECRET_FILE": str(tmp_path / "none")})
    assert "both given" in wrong(ONE_ORG | {"GENESYS_CLIENT_SECRET_FILE": str(odd)})


def test_variables_of_platforms_and_of_other_commands_are_let_be() -> None:
    """What Kubernetes sets for a service of that name, and what `push` reads, is no mistake."""
    others = {
        "PASSFERRY_SERVICE_HOST": "10.0.0.1",
        "PASSFERRY_PORT_8080_TCP_ADDR": "10.0.0.1",
        "PASSFERRY_URL": "http://127.0.0.1:8080",
        "PASSFERRY_API_KEY": "pf_1_2",
    }
    assert load(ONE_ORG | others).describe() == load(ONE_ORG).describe()


def test_a_mistaken_value_of_a_secret_is_never_repeated() -> None:
    """Control characters in a secret, a secret in place of another value: the message does not hold it."""
    wrong(ONE_ORG | {"GENESYS_CLIENT_SECRET": f"{SECRET}\n"})
    wrong(ONE_ORG | {"GENESYS_REGION": SECRET})
    wrong(ONE_ORG | {"GENESYS_RATE": SECRET, "GENESYS_WRITE": SECRET, "PASSFERRY_LISTEN": SECRET})
    wrong(ONE_ORG | {"PASSFERRY_DATABASE_URL": f"mysql://user:{SECRET}@host/x"})
    wrong(ONE_ORG, written(f'[orgs."{SECRET}"]\nclient_secret = "{SECRET}"'))


@given(st.text(max_size=30), st.sampled_from([key.name for key in (*GENERAL, *ORG)]))
def test_any_text_in_any_key_is_taken_or_refused_with_a_hint(text: str, name: str) -> None:
    """Whatever a variable holds, the answer is settings or the one error."""
    path = name if name in {key.name for key in GENERAL} else f"orgs.default.{name}"
    problems: tuple[Problem, ...] = ()
    settings = None
    try:
        settings = load(ONE_ORG | {variable(path): text})
    except ConfigError as error:
        problems = error.problems
    assert (settings is None) == bool(problems)


# --- sources ---------------------------------------------------------------------------------

SOURCES = """
[orgs.emea]
region = "us-east-1"
client_id = "other"
client_secret = "x"
never = ["Root@Example.com"]

[sources.pam]
user = "{uid}@example.com"
orgs = ["emea", "default"]
rate = 2.5
never = ["ADMIN@example.com", "11111111-2222-3333-4444-55555555555A"]
most_an_hour = 200
generated = true
believe_clock = false
clock_ahead = "10m"
bulk = true
scim = "none"
"""


def test_a_source_has_the_rules_of_its_table() -> None:
    """Every key of the file is read; users are folded; what is not given is as for any source."""
    settings = load(ONE_ORG, written(SOURCES + "[sources.HR_1]\n"))
    assert settings.sources["pam"] == SourceRules(
        user="{uid}@example.com",
        orgs=("emea", "default"),
        rate=2.5,
        never=frozenset({"admin@example.com", "11111111-2222-3333-4444-55555555555a"}),
        most_an_hour=200,
        generated=True,
        believe_clock=False,
        clock_ahead=600.0,
        bulk=True,
        scim="none",
    )
    assert settings.sources["HR_1"] == SourceRules()
    assert settings.orgs["emea"].never == {"root@example.com"}
    assert settings.describe()["sources"]["pam"]["never"][1] == "admin@example.com"


def test_a_source_is_also_told_by_variables() -> None:
    """`PASSFERRY_SOURCES_NAME_KEY` takes precedence over the table of the file, whose spelling counts."""
    env = ONE_ORG | {
        "PASSFERRY_SOURCES_HR_1_NEVER": "a@example.com, B@example.com",
        "PASSFERRY_SOURCES_HR_1_MOST_AN_HOUR": "7",
        "PASSFERRY_SOURCES_NIGHT_BULK": "yes",
    }
    settings = load(env, written("[sources.HR_1]\nmost_an_hour = 5\n"))
    assert settings.sources["HR_1"].never == {"a@example.com", "b@example.com"}
    assert settings.sources["HR_1"].most_an_hour == 7
    assert settings.sources["night"].bulk


def test_a_source_is_found_by_every_spelling_that_a_variable_cannot_tell_apart() -> None:
    """So the variable of a key with `_`, `.` or capitals guards that key, and no table of it stands aside."""
    env = ONE_ORG | {"PASSFERRY_SOURCES_HR_PORTAL_NEVER": "root@example.com"}
    for name in ("hr_portal", "hr-portal", "HR.Portal"):
        assert load(env).sources[name].never == {"root@example.com"}
    assert "hrportal" not in load(env).sources
    settings = load(env, written('[sources."HR.Portal"]\nmost_an_hour = 5\n'))
    assert [*settings.sources] == ["HR.Portal"]
    assert settings.sources["hr_portal"] == SourceRules(never=frozenset({"root@example.com"}), most_an_hour=5)


def test_two_tables_of_one_source_are_a_mistake() -> None:
    """Else it were chance which one guards it. One with dots and without quotes is told how to write it."""
    said = wrong(
        ONE_ORG, written('[sources.okta]\n[sources.Okta]\nnever = ["a"]\n[sources."x.y"]\n[sources.x-y]')
    )
    assert "[sources.Okta] and [sources.okta] are the same source" in said
    assert '[sources.x-y] and [sources."x.y"] are the same source' in said
    said = wrong(ONE_ORG, written("[sources.HR.Portal]\nmost_an_hour = 5\n"))
    assert "unknown key sources.HR.Portal in given.toml" in said
    assert 'a name with dots stands in quotes: [sources."HR.Portal"]' in said


def test_every_mistake_about_a_source_is_told() -> None:
    """Names, orgs, users, templates and unknown keys, all at once, each with where it stands."""
    said = wrong(
        ONE_ORG | {"PASSFERRY_SOURCES_X_NONSENSE": "1"},
        written(
            '[sources."no name"]\n[sources.a]\norgs = ["nowhere"]\nnever = ["a b@example.com"]\n'
            'user = "uid"\n'
            "rate = 0\nmost_an_hour = 0.5\nclock_ahead = '2h'\nneverr = []\n[sources.b]\n"
            "never = [7]\norgs = []\n"
        ),
    )
    for part in (
        "'no name' is no name for a source",
        "sources.a.orgs in given.toml names an org that is not configured",
        "sources.a.never in given.toml holds what is no user",
        "sources.a.user in given.toml completes no name",
        "sources.a.rate in given.toml is no number",
        "sources.a.most_an_hour in given.toml is no whole number",
        "sources.a.clock_ahead in given.toml is no time",
        "unknown key sources.a.neverr in given.toml",
        "sources.b.never in given.toml is no list",
        "sources.b.orgs in given.toml is no list",
        "PASSFERRY_SOURCES_X_NONSENSE names no key of a source",
    ):
        assert part in said
    assert "sources in given.toml is no table" in wrong(ONE_ORG, written("sources = 1\n"))


# --- secrets and documents -------------------------------------------------------------------


def test_no_secret_shows_in_settings() -> None:
    """Representation, text and description mask client secret, token and database address."""
    env = ONE_ORG | {
        "PASSFERRY_DATABASE_URL": f"postgresql://user:{SECRET}@host/db",
        "PASSFERRY_ORGS_LAB_TARGET": "scim",
        "PASSFERRY_ORGS_LAB_BASE_URL": "https://scim.example.com",
        "PASSFERRY_ORGS_LAB_TOKEN": SECRET,
    }
    settings = load(env)
    secret = default(settings).client_secret
    shown = f"{settings!r} {settings} {settings.describe()} {settings.orgs} {secret} {secret!r} {secret:>40}"
    assert SECRET not in shown
    assert settings.describe()["database_url"] == "postgresql://***"
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_the_docs_list_every_key_variable_and_region() -> None:
    """No key, variable or region is missing in the page, and the page lists no key that is none."""
    page = DOCUMENT.read_text()
    listed = set(re.findall(r"^\| (`[a-z_.`, ]+`)", page, flags=re.MULTILINE))
    names = {name for cell in listed for name in re.findall(r"`([a-z_.]+)`", cell)}
    assert names == {key.name for key in (*GENERAL, *ORG, *SOURCE)}
    for name in (name for variables in GENESYS_VARIABLES.values() for name in variables):
        assert f"`{name}`" in page
    for region, domain in REGIONS.items():
        assert f"| `{region}` | `{domain}` |" in page


def test_the_documented_defaults_are_the_real_ones() -> None:
    """Each simple default in the page equals the one in the code."""
    page = DOCUMENT.read_text()
    settings = load(ONE_ORG)
    org = default(settings)
    shown = {
        "listen": "127.0.0.1:8080" if settings.listen == ("127.0.0.1", 8080) else "",
        "verifier": str(settings.verifier).lower(),
        "wait_seconds": f"{settings.wait_seconds:g}",
        "source_rate": f"{settings.source_rate:g}",
        "queue_limit": str(settings.queue_limit),
        "log_format": settings.log_format,
        "target": org.target,
        "write": org.write,
        "rate": f"{org.rate:g}",
        "time_to_live": f"{org.time_to_live / 3600:g}h",
        "request_timeout": f"{org.request_timeout:g}s",
        **{
            f"policy.{part.name}": str(getattr(org.policy, part.name)).lower()
            for part in fields(Rules)
            if getattr(org.policy, part.name) is not None
        },
    }
    assert [name for name, value in shown.items() if f"| `{name}` | `{value}` |" not in page] == []
