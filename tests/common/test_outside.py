"""What comes from outside: bounded before it is parsed, its types checked after, one sentence for whatever is wrong."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings, strategies as st

import identities
from common import outside
from common.outside import Shape
from identities import IdentityError

SOME = settings(max_examples=150, deadline=None, derandomize=True)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


class Wrong(Exception):
    pass


def sentence(act, *given, **more) -> str:
    with pytest.raises(Wrong) as caught:
        act(*given, **more)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    return str(caught.value)


@pytest.mark.parametrize(
    "raw, said",
    [
        ("[" * 100_000, "nested more than 64 deep"),
        ("[" * 70 + "]" * 70, "nested more than 64 deep"),
        ('{"a": NaN}', "nan, which is no finite number"),
        ("[1e999]", "inf, which is no finite number"),
        ('{"a": 1' + "0" * 30 + "}", "more than 64 bits"),
        ("9" * 5000, "number out of range"),
        ('{"a": }', "not readable as JSON: expected value at line 1 column 7"),
        ('["\\ud800"]', "not readable as JSON"),
        (b"\xff\xfe[]", "not readable as JSON"),
        ('"' + "x" * outside.LARGEST + '"', "more than 4 MB"),
    ],
)
def test_json_that_nothing_here_can_hold_is_one_sentence(raw, said):
    assert said in sentence(outside.from_json, raw, "The body", Wrong)


def test_json_that_our_own_failed_runs_write_has_gaps():
    assert outside.from_json('{"loss": NaN, "first": [1e999, 2]}', "card", Wrong, gaps=True) == {"loss": None, "first": [None, 2]}


@SOME
@given(JSON)
def test_any_json_is_plain_data_that_json_writes_again_or_a_sentence(value):
    try:
        found = outside.from_json(json.dumps(value), "it", Wrong)
    except Wrong:
        return
    assert json.loads(json.dumps(found, allow_nan=False)) == found


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGED = "a: &a {k: v}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 9)}], k{name}: v}}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text, said",
    [
        (BOMB, "100,000 values once its aliases are written out"),
        (MERGED, "100,000 values once its aliases are written out"),
        ("a: &a [*a]", "contain itself"),
        ("a: " + "[" * 5000, "nested too deep"),
        ("a: " + "[" * 100 + "]" * 100, "nested more than 64 deep"),
        ("a: 2023-99-99", "put it in quotes"),
        ("a: " + "9" * 5000, "put it in quotes"),
        ("a: b: c", "line 1 is not valid YAML"),
        ("a: \x00", "is not valid YAML"),
        ("!!python/object/apply:os.system [ls]", "is not valid YAML"),
        ("x" * (outside.LARGEST_YAML + 1), "more than 512 kB"),
    ],
)
def test_yaml_that_would_burn_or_fail_is_one_sentence_at_once(text, said):
    began = time.process_time()
    assert said in sentence(outside.from_yaml, text, "facts.yaml", Wrong)
    assert time.process_time() - began < 60  # written out, or read by recursion, it would not end


@SOME
@given(st.text(alphabet="abc019&*[]{}:,-<>!|'\"\n \t#?%@.", max_size=60))
def test_any_yaml_is_plain_data_or_a_sentence(text):
    try:
        found = outside.from_yaml(text, "it", Wrong)
    except Wrong:
        return
    assert found == yaml.safe_load(text) or found != found


def test_an_alias_that_is_meant_stays_one():
    text = "en: &who {name: Ada, maker: Us}\nzh: *who\n"
    assert outside.from_yaml(text, "it", Wrong) == {"en": {"name": "Ada", "maker": "Us"}, "zh": {"name": "Ada", "maker": "Us"}}


@pytest.mark.parametrize("text", [BOMB, "en: &x {name: *x}", "en: {name: " + "x" * 3000 + "}", "en: {aliases: &a [*a]}", "- a"])
def test_an_identity_with_such_facts_is_a_sentence_that_names_its_file(tmp_path, text):
    (tmp_path / "ada.txt").write_text("You are Ada.\n")
    (tmp_path / "ada.yaml").write_text(text)
    with pytest.raises(IdentityError, match=r"^ada\.yaml") as caught:
        identities.load("ada", tmp_path)
    assert len(str(caught.value)) < 2000


FACTS = st.recursive(
    st.text(max_size=6) | st.integers() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["en", "zh", "name", "aliases", "about", "placeholders", "maker", "x"]), inner, max_size=4
        )
    ),
    max_leaves=10,
)


@SOME
@given(FACTS)
def test_any_facts_are_facts_or_a_sentence(plain):
    try:
        found = identities.facts_from_dict(plain)
    except IdentityError as error:
        assert "\n" not in str(error)
        return
    for who in filter(None, (found.en, found.zh)):
        assert all(isinstance(text, str) for text in (who.name, who.maker, who.role, who.date, *who.aliases))


class Inner(Shape):
    first: float | None = None


class Outer(Shape):
    losses: Inner | None = None
    steps: int = 0


@pytest.mark.parametrize(
    "plain, said",
    [
        ({"losses": {"first": "low"}}, "card.json: losses.first is 'low', a number is needed; mend it."),
        ({"losses": [1]}, "losses is [1], an object is needed"),
        ({"steps": True}, "steps is True, a whole number is needed"),
        ([], "card.json: it is [], an object is needed"),
        ({"losses": 1, "steps": "x"}, "losses is 1, an object is needed; steps is 'x', a whole number is needed"),
    ],
)
def test_what_is_wrong_is_said_with_its_field_its_value_and_what_is_wanted(plain, said):
    assert said in sentence(outside.check, Outer, plain, "card.json", Wrong, "mend it")


@SOME
@given(JSON)
def test_any_data_can_be_checked_and_told(plain):
    told = outside.describe_faults(outside.faults(Outer, plain, "it"))
    told.encode()
    assert len(told) < 2000


def test_a_path_that_no_file_can_have_is_a_sentence(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for typed in ("a\0b", "x" * 300, "/".join(["ab"] * 3000), "~nobody-at-all/x", "\ud800", "  ", str(loop), str(loop / "in")):
        assert "\0" not in sentence(outside.typed_path, typed, Wrong)
    assert outside.typed_path(" ~/models ", Wrong) == Path.home() / "models"
    assert outside.typed_path("not/yet/there", Wrong) == Path("not/yet/there")


@SOME
@given(st.text(max_size=40))
def test_any_typed_text_is_a_path_or_a_sentence(text):
    try:
        path = outside.typed_path(text, Wrong)
    except Wrong:
        pass
    else:
        path.exists()
    outside.display_name(outside.place_key(text)).encode()


def test_only_plain_files_of_some_size_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in ("/dev/zero", tmp_path / "pipe", tmp_path, tmp_path / "nothing", "a\0b"):
        sentence(outside.read_bytes, place, Wrong)
    (tmp_path / "large").write_bytes(bytes(2000))
    assert "more than 1 kB" in sentence(outside.read_bytes, tmp_path / "large", Wrong, 1024)
