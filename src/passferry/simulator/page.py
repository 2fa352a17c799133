"""The one page to look at: what arrived, for whom, and how the stand-in misbehaved."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from passferry.simulator.directory import iso

if TYPE_CHECKING:
    from passferry.simulator.inspection import Simulator
    from passferry.simulator.journal import Entry

_STYLE = """
:root{--bg:#f6f7f9;--card:#fff;--ink:#1b2430;--dim:#5d6b7c;--line:#dfe4ea;--good:#0b7a4b;--bad:#b3261e;--odd:#8a5a00}
@media(prefers-color-scheme:dark){:root{--bg:#12161c;--card:#1a2028;--ink:#e6ebf1;--dim:#93a1b2;--line:#2b3440;
--good:#5fd39b;--bad:#ff8a80;--odd:#f0c060}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:72rem;margin:0 auto;padding:1.5rem}
h1{font-size:1.35rem;margin:0}h2{font-size:1rem;margin:2rem 0 .5rem}
p{margin:.3rem 0;color:var(--dim)}.warn{color:var(--odd)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:.75rem;margin-top:1.25rem}
.tile{background:var(--card);border:1px solid var(--line);border-radius:.6rem;padding:.7rem .9rem}
.tile b{display:block;font-size:1.5rem;font-variant-numeric:tabular-nums}
.tile span{color:var(--dim);font-size:.85rem}
.wide{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:.6rem}
table{border-collapse:collapse;width:100%;font-size:.88rem}
th,td{text-align:left;padding:.4rem .8rem;white-space:nowrap}
th{color:var(--dim);font-weight:600}tbody tr{border-top:1px solid var(--line)}
code{font:.85rem ui-monospace,monospace}.good{color:var(--good)}.bad{color:var(--bad)}.odd{color:var(--odd)}
a{color:inherit}
"""


def render(simulator: Simulator) -> str:
    """The page as HTML; every value in it is escaped. It has no script and refreshes itself."""
    stats = simulator.stats()
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=3>"
        "<meta name=viewport content='width=device-width'><title>Genesys Cloud stand-in</title>"
        f"<style>{_STYLE}</style><main><h1>Genesys Cloud stand-in</h1>"
        "<p>Answers the token endpoint, SCIM users and the native password call. "
        "<span class=warn>Not for production: it shows every password it is given and forgets everything "
        "when it stops.</span></p>"
        f"{_tiles(stats)}<h2>Passwords that arrived</h2>{_arrived(simulator)}"
        f"<h2>Recent requests</h2>{_requests(simulator)}<h2>More</h2>"
        "<p><a href=/simulator/users>users</a> · <a href=/simulator/journal>journal</a> · "
        "<a href=/simulator/stats>stats</a> · <a href=/simulator/settings>settings</a> · "
        "<a href=/simulator/explain>what each setting is for</a> · "
        "<code>GET /simulator/users/agent001@example.com</code>"
        "</p></main></html>"
    )


def _tiles(stats: dict[str, Any]) -> str:
    tiles = (
        ("requests", stats["requests"]),
        ("password writes", stats["passwordWrites"]),
        ("users written", f"{stats['usersWritten']} of {stats['users']}"),
        ("over the rate limit", stats["rateLimited"]),
        ("faults played", sum(stats["faults"].values())),
    )
    inner = "".join(
        f"<div class=tile><b>{escape(str(value))}</b><span>{name}</span></div>" for name, value in tiles
    )
    return f"<div class=tiles>{inner}</div>"


def _table(heads: tuple[str, ...], rows: list[str], nothing: str) -> str:
    if not rows:
        return f"<p>{nothing}</p>"
    head = "".join(f"<th>{name}</th>" for name in heads)
    return (
        f"<div class=wide><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _arrived(simulator: Simulator) -> str:
    written = [user for user in simulator.directory() if user.writes]
    written.sort(key=lambda user: user.writes[-1].time, reverse=True)
    rows = []
    for user in written[:25]:
        last = user.writes[-1]
        cells = (
            f"<a href='/simulator/users/{escape(user.id)}'>{escape(user.user_name)}</a>",
            escape(str(user.profile.get("displayName", ""))),
            f"<code>{escape(last.password)}</code>",
            escape(last.via),
            str(len(user.writes)),
            escape(iso(last.time)),
        )
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return _table(("user", "name", "password now", "last by", "writes", "when"), rows, "None yet.")


def _requests(simulator: Simulator) -> str:
    rows = [_row(entry) for entry in reversed(simulator.journal()[-30:])]
    return _table(("when", "request", "status", "fault", "client", "correlation id"), rows, "None yet.")


def _row(entry: Entry) -> str:
    kind = "good" if entry.status < 400 and entry.status else "odd" if entry.fault else "bad"
    query = f"?{entry.query}" if entry.query else ""
    cells = (
        escape(iso(entry.time)[11:]),
        f"<code>{escape(entry.method)} {escape(entry.path + query)[:120]}</code>",
        f"<span class={kind}>{entry.status or '—'}</span>",
        f"<span class=odd>{escape(entry.fault or '')}</span>",
        escape(entry.client or ""),
        f"<code>{escape(entry.correlation_id[:8])}</code>",
    )
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
