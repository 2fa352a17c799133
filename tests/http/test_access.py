"""Access keys."""

import re

import anyio

from http_fakes import FakeKeys, StillClock
from passferry.access import Access, digest, mint, provisioners, without_key
from passferry.domain.source_rules import SourceRules, SourceTables
from passferry.store_ports import Caller


def ask(access: Access, *texts: str) -> list[str | None]:
    """The names of the holders of ``texts``."""

    async def go() -> list[str | None]:
        return [caller.name if (caller := await access(text)) else None for text in texts]

    return anyio.run(go)


def test_a_key_holds_256_bits_and_is_not_printed() -> None:
    """The secret is 64 hexadecimal digits, the repr of a new key does not show it, two are never equal."""
    one, two = mint(), mint()
    assert re.fullmatch(r"pf_[0-9a-f]{10}_[0-9a-f]{64}", one.text)
    assert one.text not in repr(one)
    assert one.text != two.text
    assert one.secret_sha256 == digest(one.text.rpartition("_")[2])


def test_only_the_whole_key_is_proof() -> None:
    """A wrong secret, another key's id, and every malformed text are refused."""
    keys, clock = FakeKeys(), StillClock()
    good, other = keys.add("portal"), keys.add("other")
    prefix, key_id, secret = good.split("_")
    access = Access(keys, clock)
    assert ask(access, good, other) == ["portal", "other"]
    bad = [
        "",
        good[:-1],
        good + "0",
        good.upper(),
        f" {good}",
        f"{prefix}_{key_id}_{'0' * 64}",
        f"{prefix}_{other.split('_')[1]}_{secret}",
        f"{prefix}_unknown_{secret}",
        f"{prefix}_{key_id}_",
        "pf__" + secret,
    ]
    assert ask(access, *bad) == [None] * len(bad)


def test_a_revoked_key_works_for_a_second_at_most() -> None:
    """After the cache's second the store is read again and the key refused."""
    keys, clock = FakeKeys(), StillClock()
    good = keys.add("portal")
    access = Access(keys, clock)
    assert ask(access, good) == ["portal"]
    anyio.run(keys.revoke, "portal", "operator", 0.0)
    clock.at += 1.0
    assert ask(access, good) == [None]


def test_a_key_made_beside_us_works_at_once() -> None:
    """An id that is not known yet is looked for again without waiting for the second."""
    keys, clock = FakeKeys(), StillClock()
    access = Access(keys, clock)
    assert ask(access, keys.add("portal")) == ["portal"]
    clock.at += 0.06
    assert ask(access, keys.add("new")) == ["new"]


def test_made_up_keys_cost_few_readings_of_the_store() -> None:
    """A hundred unknown ids at one moment read the store once."""
    keys, clock = FakeKeys(), StillClock()
    access = Access(keys, clock)
    assert ask(access, *(mint().text for _ in range(100))) == [None] * 100
    assert keys.readings == 1


def test_concurrent_callers_share_one_reading() -> None:
    """Fifty first callers at once read the store once."""
    keys, clock = FakeKeys(), StillClock()
    good = keys.add("portal")
    access = Access(keys, clock)
    found: list[Caller | None] = []

    async def one() -> None:
        found.append(await access(good))

    async def all_at_once() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(50):
                group.start_soon(one)

    anyio.run(all_at_once)
    assert [caller.name for caller in found if caller] == ["portal"] * 50
    assert keys.readings == 1


def test_who_provisions_is_named_and_nobody_else() -> None:
    """Sources whose keys are in use, for that org, by default or by `scim`; a template makes it `none`."""
    callers = [
        Caller("1", "okta", "source", ()),
        Caller("2", "entra", "source", ("emea",), "{uid}@example.com"),
        Caller("3", "elsewhere", "source", ("apac",)),
        Caller("4", "kept-out", "source", ()),
        Caller("5", "pusher", "source", ()),
        Caller("6", "pam", "source", (), "{uid}@example.com"),
        Caller("7", "samba", "source", ()),
        Caller("8", "desk", "operator", ()),
        Caller("9", "gone", "source", (), revoked_at=1.0),
    ]
    tables = {
        "entra": SourceRules(scim="proxy"),
        "kept-out": SourceRules(orgs=("apac",)),
        "pusher": SourceRules(scim="passwords"),
        "samba": SourceRules(scim="none"),
    }
    sources = SourceTables(tables)
    assert [one.name for one in provisioners("emea", callers, sources)] == ["entra", "okta"]


def test_rules_hold_for_a_key_in_any_spelling_of_its_name() -> None:
    """What a variable cannot tell apart is one source: a table, or a variable, guards the key it means."""
    keys, clock = FakeKeys(), StillClock()
    made = [keys.add(name) for name in ("hr_portal", "HR-Portal", "hr.portal", "hrportal")]
    rules = SourceRules(most_an_hour=7)
    access = Access(keys, clock, sources=SourceTables({"hr-portal": rules}))

    async def limits() -> list[int | None]:
        return [caller.rules.most_an_hour if (caller := await access(key)) else 0 for key in made]

    assert anyio.run(limits) == [7, 7, 7, None]


def test_a_table_guards_nobody_whose_name_no_key_in_use_has() -> None:
    """A slip, a revoked key and one of another role; a key in another spelling is one."""
    names = ["Okta", "oktaa", "gone", "desk"]
    callers = [
        Caller("1", "okta", "source", ()),
        Caller("2", "gone", "source", (), revoked_at=1.0),
        Caller("3", "desk", "operator", ()),
    ]
    tables = SourceTables(dict.fromkeys(names, SourceRules()))
    assert without_key(tables, callers) == ["desk", "gone", "oktaa"]
