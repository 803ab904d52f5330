"""The browser of this machine, for what looks at the page."""

from __future__ import annotations

import shutil

NAMES = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")  # the first starts fastest
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
MISSING = "no Chromium on this machine (Debian: apt-get install chromium-headless-shell)"
