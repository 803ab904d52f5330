"""A database that is foreign, newer or damaged is told before it is touched; ours are checked and copied while in use."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

import store
from store import StoreError, backup, check, look
from store.migrations import APPLICATION_ID, migrations

WAL = b"\x10\0\2\2\0@ "  # the next bytes of a header
ANSWER = {"variant": {"name": "base"}, "messages": [{"role": "user", "content": "?"}], "raw": "an answer " * 50, "shown": "a"}


def everything(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def foreign(path, statements=("create table notes (text)", "insert into notes values ('dear diary')")):
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path)
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.mark.parametrize("more", [[], ["PRAGMA journal_mode = WAL"], ["PRAGMA application_id = 5"], ["PRAGMA user_version = 99"]])
def test_a_database_of_another_program_is_left_as_it_is(db_path, more):
    foreign(db_path, [*more, "create table notes (text)", "create table _sqlite_migrations (migration_set, name)"])
    was = everything(db_path.parent)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"is a database of another program.* and is left as it is; .*--db\.$"):
            store.open(db_path)
        assert everything(db_path.parent) == was


def as_newer(path, how):
    store.answers.add(path, [ANSWER])
    connection = sqlite3.connect(path)
    if how == "migration":
        row = "('mirror-test', 'm999_x', '')"
        connection.execute(f"insert into _sqlite_migrations (migration_set, name, applied_at) values {row}")
    else:
        connection.execute("PRAGMA user_version = 999")
    connection.commit()
    connection.execute("PRAGMA journal_mode = DELETE")
    connection.close()
    copy = path.with_name("newer.db")
    copy.write_bytes(path.read_bytes())
    return copy


@pytest.mark.parametrize("how", ["migration", "version"])
def test_a_newer_database_is_left_as_it_is(tmp_path, how):
    (tmp_path / "a").mkdir()
    path = as_newer(tmp_path / "a" / "mirror.db", how)
    was = everything(path.parent)
    with pytest.raises(StoreError, match=r"made by a newer version of this program \((m999_x|version 999)\).*update, or"):
        store.open(path)
    assert everything(path.parent) == was


def test_one_that_becomes_newer_under_a_running_program_is_noticed(db_path):
    as_newer(db_path, "migration")
    with pytest.raises(StoreError, match="newer version"):
        store.answers.recent(db_path, 1)


def test_our_databases_say_whose_they_are(db_path):
    store.answers.add(db_path, [ANSWER])
    with store.open(db_path) as db:
        assert db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
        assert db.execute("PRAGMA user_version").fetchone()[0] == len(migrations.applied(db))


def broken(path: Path, count: int = 300) -> Path:
    """A database with a page of an answer overwritten."""
    store.answers.add(path, [ANSWER] * count)
    with store.open(path) as db:
        page = db.execute("select rootpage from sqlite_master where name = 'answers'").fetchone()[0]
        size = db.execute("PRAGMA page_size").fetchone()[0]
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    copy = path.with_name("broken.db")
    data = bytearray(path.read_bytes())
    data[(page - 1) * size : page * size] = b"\xee" * size
    copy.write_bytes(data)
    return copy


def test_a_damaged_database_is_told_before_it_is_touched(tmp_path):
    (tmp_path / "a").mkdir()
    path = broken(tmp_path / "a" / "mirror.db")
    was = everything(path.parent)
    with pytest.raises(StoreError, match=r"broken\.db is damaged .*restore a backup, or .*python -m store\.check"):
        store.open(path)
    assert everything(path.parent) == was
    assert any("damaged" in line for line in check.check(path))
    with pytest.raises(StoreError, match=r"cannot be copied .* store\.check"):
        backup.backup(path, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


@pytest.mark.parametrize("length", [1, 16, 50, 99, 100, 512, 5000])
def test_a_database_that_is_cut_off_is_a_sentence(tmp_path, length):
    store.answers.add(tmp_path / "mirror.db", [ANSWER])
    path = tmp_path / "cut.db"
    with store.open(tmp_path / "mirror.db") as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes((tmp_path / "mirror.db").read_bytes()[:length])
    was = path.read_bytes()
    with pytest.raises(StoreError):
        store.open(path)
    assert path.read_bytes() == was


@settings(max_examples=60, deadline=None, derandomize=True)
@given(start=st.sampled_from([b"", *(look.MAGIC + more for more in (b"", WAL, b"\x10\0\1\1\0@ "))]), rest=st.binary(max_size=300))
def test_any_bytes_are_a_sentence_and_stay(tmp_path_factory, start, rest):
    path = tmp_path_factory.mktemp("bytes") / "mirror.db"
    path.write_bytes(data := start + rest or b"x")
    with pytest.raises(StoreError, match="--db"):
        store.open(path)
    assert everything(path.parent) == {"mirror.db": data}


def test_looking_for_damage_takes_no_longer_than_it_may(tmp_path, monkeypatch):
    monkeypatch.setattr(look, "CHECK_S", -1.0)
    store.answers.add(tmp_path / "mirror.db", [ANSWER] * 3000)
    copy = tmp_path / "copy.db"
    copy.write_bytes((tmp_path / "mirror.db").read_bytes())
    with look.reading(copy, still=True) as connection:
        assert look.damage(connection, -1.0) == []
    assert len(store.answers.recent(tmp_path / "mirror.db", 1)) == 1


# --- python -m store.check -------------------------------------------------------------------------------------------------


def test_all_is_well_with_one_in_use_and_nothing_is_written(db_path, capsys):
    with store.open(db_path) as db:
        store.answers.add(db, [ANSWER])
        was = db_path.read_bytes()
        assert check.main([str(db_path)]) == 0 and "all is well" in capsys.readouterr().out
        assert db_path.read_bytes() == was


@pytest.mark.parametrize(
    "harm, told",
    [
        ("insert into run_answers (run, probe_id, variant, sample, turn, answer, reused) values (9, 'p', 0, 0, 0, 1, 0)",
         r"1 rows of run_answers refer to runs that are not there"),
        ("delete from answers where id = 1", r"rows of labels refer to answers that are not there"),
        ("update answers set variant = '{' where id = 2", r"1 rows of answers have no JSON under variant \(2\)"),
        ("update labels set superseded_by = 1 where id = 1", r"labels that were superseded by an earlier one \(1\)"),
        ("insert into labels (created, annotator, answer, kind, label, tags, flag, comment, blind) "
         "select created, annotator, answer, kind, label, tags, flag, comment, blind from labels",
         r"people with two standing decisions on one answer"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place(db_path, capsys, harm, told):
    ids = store.answers.add(db_path, [ANSWER, ANSWER])
    store.labels.add(db_path, ids[0], "An", "formed")
    connection = sqlite3.connect(db_path)
    connection.execute(harm)
    connection.commit()
    connection.close()
    assert check.main([str(db_path)]) == 1
    assert re.search(told, capsys.readouterr().out)


def test_what_cannot_be_looked_at_is_a_sentence_and_2(tmp_path, capsys):
    foreign(tmp_path / "notes.db")
    (tmp_path / "text").write_text("no database" * 20)
    for name, told in (("none.db", "There is no file"), ("notes.db", "another program"), ("text", "not a SQLite database")):
        assert check.main([str(tmp_path / name)]) == 2
        assert told in capsys.readouterr().err
    assert not (tmp_path / "none.db").exists()


# --- python -m store.backup ------------------------------------------------------------------------------------------------


def test_a_copy_taken_while_others_write_is_whole_and_of_one_moment(db_path, tmp_path):
    store.answers.add(db_path, [ANSWER] * 50)
    done = threading.Event()

    def write():
        while not done.is_set():
            store.answers.add(db_path, [ANSWER] * 7)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        copies = [backup.backup(db_path, tmp_path / f"copy{at}.db") for at in range(3)]
    finally:
        done.set()
        writer.join()
    for copy in copies:
        assert check.check(copy) == [] and (len(store.answers.recent(copy, 10_000)) - 50) % 7 == 0
    assert {path.name.partition("-")[0] for path in tmp_path.iterdir()} == {"runs", *(copy.name for copy in copies)}


def test_a_copy_by_way_of_a_link_has_what_only_the_log_holds(db_path, tmp_path):
    store.answers.add(db_path, [ANSWER])
    held = sqlite3.connect(db_path)  # as long as somebody has it open, new answers stay in the log
    held.execute("select count(*) from answers").fetchone()
    store.answers.add(db_path, [ANSWER] * 4)
    (tmp_path / "link.db").symlink_to(db_path)
    copy = backup.backup(tmp_path / "link.db", tmp_path / "copy.db")
    held.close()
    assert sqlite3.connect(copy).execute("select count(*) from answers").fetchone() == (5,)


def test_what_is_read_where_there_is_no_log_stays_of_one_moment(db_path):
    store.answers.add(db_path, [ANSWER] * 200)
    assert not look.has_log(db_path)
    with look.reading(db_path, still=True) as connection:
        connection.execute("BEGIN")
        assert connection.execute("select count(*) from answers").fetchone() == (200,)
        store.answers.add(db_path, [ANSWER] * 200)  # and closes, which would put the log into the file
        rows = connection.execute("select id, raw from answers").fetchall()
        assert len(rows) == 200 and {raw for _, raw in rows} == {ANSWER["raw"]}
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("delete from answers")


def test_a_copy_is_restored_by_putting_it_in_the_place_of_the_database(db_path, tmp_path):
    store.answers.add(db_path, [ANSWER])
    (tmp_path / "copies").mkdir()
    copy = backup.backup(db_path, tmp_path / "copies")
    assert copy == tmp_path / "copies" / db_path.name and [path.name for path in copy.parent.iterdir()] == [copy.name]
    for path in db_path.parent.iterdir():
        path.unlink()
    os.replace(copy, db_path)
    store.answers.add(db_path, [ANSWER])
    with store.open(db_path) as db:
        assert db["answers"].count == 2 and db.journal_mode == "wal"


def test_nothing_is_overwritten_and_no_half_copy_stays(db_path, tmp_path, monkeypatch, capsys):
    store.answers.add(db_path, [ANSWER])
    (tmp_path / "there.db").write_text("mine")
    assert backup.main([str(db_path), str(tmp_path / "there.db")]) == 1
    assert "there already" in capsys.readouterr().err and (tmp_path / "there.db").read_text() == "mine"
    assert backup.main([str(tmp_path / "none.db"), str(tmp_path / "copy.db")]) == 1

    def full(source, file):
        file.write_bytes(b"half")
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(backup, "copy", full)
    assert backup.main([str(db_path), str(tmp_path / "copy.db")]) == 1
    said = capsys.readouterr().err
    assert "the disk that holds" in said and "is full" in said
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "there.db"}


def test_both_are_commands(db_path, tmp_path):
    store.answers.add(db_path, [ANSWER])
    for arguments in (["store.check", str(db_path)], ["store.backup", str(db_path), str(tmp_path / "copy.db")]):
        subprocess.run([sys.executable, "-m", *arguments], check=True, cwd=Path(__file__).parents[2], capture_output=True)
    assert (tmp_path / "copy.db").is_file()
