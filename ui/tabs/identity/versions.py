"""The saved texts of an identity: kept when one is saved, listed, and compared word by word. No Gradio."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from html import escape

import identities
from identities.facts import read_text
from store import identity_versions as stored
from store.identity_versions import Version
from ui.context import App
from ui.html import paragraph, row, table
from ui.words import say

SHOWN = 20
NOW = "0"  # the id of what stands in the file
_WORDS = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]|\w+|\s+|[^\w\s]")


def keep(app: App, name: str, who: str) -> None:
    """Notes what the files of an identity say now, if that is new. IdentityError, StoreError."""
    now = current(app, name)
    if now.text or now.facts:
        stored.note(app.db, name, now.hash, now.text, now.facts, who)


def current(app: App, name: str) -> Version:
    """What the files say now."""
    known = identities.load(name, app.identities)
    facts = identities.facts_path(name, app.identities)
    under = stored.answers_under(app.db, known.hash) if known.prompt else 0
    return Version(0, "", "", name, known.hash, known.text, read_text(facts) if facts else "", under)


def versions_of(app: App, name: str) -> list[Version]:
    """What the files say now, then what was saved before, the newest first."""
    now = current(app, name)
    saved = stored.of(app.db, name)
    if saved and (saved[0].text, saved[0].facts) == (now.text, now.facts):
        now, saved = Version(0, saved[0].created, saved[0].who, name, now.hash, now.text, now.facts, now.answers), saved[1:]
    return [now, *saved]


def chosen(versions: Sequence[Version], id: str | None) -> Version | None:
    return next((one for one in versions if str(one.id) == id), None)


def choices(lang: str, versions: Sequence[Version]) -> list[tuple[str, str]]:
    return [(label(lang, one), str(one.id)) for one in versions]


def label(lang: str, version: Version) -> str:
    when = _when(version) or say(lang, "version_unknown")
    first = say(lang, "version_now", when=when) if version.id == 0 else when
    return f"{first} · {version.hash[:6]} · {say(lang, 'version_answers', count=version.answers)}"


def _when(version: Version) -> str:
    return version.created[:16].replace("T", " ")


def versions_html(lang: str, versions: Sequence[Version]) -> str:
    """All of them as a table."""
    if not versions:
        return ""
    heads = [say(lang, f"version_{key}") for key in ("when", "who", "hash", "under", "text")]
    rows = []
    for one in versions[:SHOWN]:
        when = (_when(one) or say(lang, "version_unknown")) + (f" ({say(lang, 'version_here')})" if one.id == 0 else "")
        words = one.text.split("\n")[0]
        begins = words[:80] + ("…" if len(words) > 80 else "")
        rows.append(row([escape(when), escape(one.who), f"<code>{escape(one.hash)}</code>", str(one.answers), escape(begins)]))
    more = paragraph(say(lang, "version_more", count=len(versions) - SHOWN)) if len(versions) > SHOWN else ""
    return table(heads, rows, "mt-versions") + more


def diff_html(lang: str, older: Version | None, newer: Version | None) -> str:
    """What was taken out and put in between two versions, in the prompt and in the facts."""
    if older is None or newer is None:
        return paragraph(say(lang, "version_one"))
    parts = []
    for key, one, other in (("prompt_text", older.text, newer.text), ("facts", older.facts, newer.facts)):
        if one != other:
            if key == "prompt_text":
                one, other = identities.from_line(one), identities.from_line(other)
            parts.append(f'<h4>{escape(say(lang, key))}</h4><pre class="mt-exact mt-diff">{_marked(one, other)}</pre>')
    return "".join(parts) or paragraph(say(lang, "version_same"))


def _marked(older: str, newer: str) -> str:
    one, other = _WORDS.findall(older), _WORDS.findall(newer)
    said = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, one, other, autojunk=False).get_opcodes():
        gone, come = escape("".join(one[a:b])), escape("".join(other[c:d]))
        if kind == "equal":
            said.append(gone)
        else:
            said += [f"<del>{gone}</del>" if gone else "", f"<ins>{come}</ins>" if come else ""]
    return "".join(said)
