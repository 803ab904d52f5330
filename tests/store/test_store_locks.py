"""Connections of several processes to one database leave each other alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import store


def test_opening_the_database_once_more_leaves_other_connections_their_locks(db_path):
    with store.open(db_path) as db:
        assert db["answers"].count == 0  # it has read, so it holds a lock for as long as it is open
        store.open(db_path).close()
        code = f"import sqlite3; c = sqlite3.connect({str(db_path)!r}); c.execute('select count(*) from answers'); c.close()"
        subprocess.run([sys.executable, "-c", code], check=True)
        # a process that takes itself for the last one clears the log away
        assert Path(f"{db_path}-wal").exists()
