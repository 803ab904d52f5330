"""docs/database.md says what the migrations make, and every table and column that is explained is there."""

from __future__ import annotations

from pathlib import Path

import store
from store import tables

PAGE = Path(__file__).parents[2] / "docs" / "database.md"


def test_the_page_is_what_the_migrations_make():
    assert PAGE.read_text("utf-8") == tables.describe(), "write it anew: python -m store.tables > docs/database.md"


def test_every_table_and_column_is_explained_and_nothing_that_is_not_there(tmp_path):
    with store.open(tmp_path / "mirror.db") as db:
        assert tables.tables(db) == set(tables.MEANING)
        for name, (what, columns) in tables.MEANING.items():
            there = {column.name for column in db[name].columns}
            assert what and set(columns) <= there, name
            said = {"id", *columns, *tables.EVERYWHERE, *(key.column for key in db[name].foreign_keys)}
            assert there <= said, (name, there - said)
