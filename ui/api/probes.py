"""The page's named endpoints for scripts that are about probes: probe_runs and probe_answers. Plain JSON out."""

from __future__ import annotations

from probes.run import background as probes_background
from probes.run.background import BackgroundRun
from store import runs
from ui.api import arguments
from ui.context import App
from ui.listeners import bind
from ui.tabs.probes.judged import RunCache, chosen_rows

LISTED = 200


def build_probes_api(app: App, ongoing: BackgroundRun, cache: RunCache) -> None:
    """Inside a Blocks: the two endpoints. A mistake in a call comes back as one sentence."""
    arguments.add_endpoints(app, bind(probe_runs, app, ongoing), bind(probe_answers, app, cache))


def probe_runs(app: App, ongoing: BackgroundRun) -> list:
    """The latest runs, newest first: id, name, status, done, total, set, mode, samples, variants, base, created."""
    return [
        {key: row[key] for key in ("id", "name", "created", "mode", "samples", "base", "dtype", "set_hash")}
        | {key: probes_background.state_of(ongoing, row)[key] for key in ("status", "done", "total", "message")}
        | {"set": row["set_name"], "variants": [one["name"] for one in row["variants"]]}
        for row in runs.recent(app.db, LISTED)
    ]


def probe_answers(app: App, cache: RunCache, run: int) -> list:
    """Every answer of a run so far: the rows of an answers file, with suggestion, sure, tags and evidence."""
    return chosen_rows(cache.of(app, int(run)), None)
