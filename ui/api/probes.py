"""The page's named endpoints for scripts that are about probes: probe_runs and probe_answers. Plain JSON out."""

from __future__ import annotations

import gradio as gr

from store import runs
from ui.api import arguments
from ui.context import App, sentence
from ui.tabs.probes import background as probes_background
from ui.tabs.probes.background import BackgroundRun
from ui.tabs.probes.judged import RunCache, chosen_rows

LISTED = 200


def build_probes_api(app: App, ongoing: BackgroundRun, cache: RunCache) -> None:
    """Inside a Blocks: the two endpoints. A mistake in a call comes back as one sentence."""

    def refuse(error: Exception) -> gr.Error:
        return gr.Error(sentence(app.language(None), error), print_exception=False)

    def probe_runs() -> list:
        """The latest runs, newest first: id, name, status, done, total, set, mode, samples, variants, base, created."""
        try:
            return [
                {key: row[key] for key in ("id", "name", "created", "mode", "samples", "base", "dtype", "set_hash")}
                | {key: probes_background.state_of(ongoing, row)[key] for key in ("status", "done", "total", "message")}
                | {"set": row["set_name"], "variants": [one["name"] for one in row["variants"]]}
                for row in runs.recent(app.db, LISTED)
            ]
        except Exception as error:
            raise refuse(error) from None

    def probe_answers(run: int) -> list:
        """Every answer of a run so far: the rows of an answers file, with suggestion, sure, tags and evidence."""
        try:
            return chosen_rows(cache.of(app, int(run)), None)
        except Exception as error:
            raise refuse(error) from None

    arguments.offer(app, probe_runs, probe_answers)
