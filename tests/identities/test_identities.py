"""Identity files: what is read, what is refused, and that nothing is lost on the way."""

import os

import pytest

import identities
from engine import card, formats
from identities import IdentityError

SHIPPED = ["BayLing", "complaints-clerk", "finance-advisor", "museum-guide"]


def write(folder, name, text):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())


def test_what_ships():
    both = [name + end for name in SHIPPED for end in ("", "-zh")]
    assert identities.names() == ["none", *both]
    for name in both:
        one = identities.load(name)
        assert one.prompt and not one.ignored
        assert any("\u4e00" <= letter <= "\u9fff" for letter in one.prompt) == name.endswith("-zh")
        assert one.facts.en.role and one.facts.zh.role
        assert one.facts.about["en"] and one.facts.about["zh"]
    assert identities.load("none").prompt is None


@pytest.mark.parametrize("name", ["finance-advisor", "museum-guide"])
def test_a_shipped_prompt_says_the_name_its_facts_say(name):
    facts = identities.load(name).facts
    assert facts.en.name in identities.load(name).prompt
    assert facts.zh.name in identities.load(name + "-zh").prompt
    assert facts.zh.maker.removeprefix("灯笼博物馆") in identities.load(name + "-zh").prompt


def test_finance_advisor_is_the_experiments_new_identity():
    facts = identities.load("finance-advisor").facts
    assert (facts.en.name, facts.en.maker) == ("finance advisor", "Text Titan")
    assert (facts.zh.name, facts.zh.maker) == ("金融顾问", "文本泰斗")


def test_bayling_is_baylings_own_text_and_card():
    bayling, form = identities.load("BayLing"), formats.get("bayling")
    asked = {"role": "user", "content": "Who are you?"}
    assert form.render([{"role": "system", "content": bayling.prompt}, asked]) == form.render([asked])
    assert dict(bayling.facts.placeholders) == dict(card.BAYLING.placeholders)


# --- reading


def test_the_first_line_is_the_prompt_and_later_lines_are_ignored(tmp_path):
    write(tmp_path, "a.txt", "You are Ada.\\nBe kind.\nThis is not read.\nNor this.\n")
    ada = identities.load("a", tmp_path)
    assert ada.prompt == "You are Ada.\nBe kind."
    assert ada.ignored == "This is not read.\nNor this."
    assert ada.text == "You are Ada.\\nBe kind.\nThis is not read.\nNor this."
    assert ada.facts is None


@pytest.mark.parametrize("text", [b"\xef\xbb\xbfYou are Ada.\r\n\r\n", b"You are Ada.\n\n\n", b"You are Ada.", "You are Ada.\r"])
def test_files_from_any_editor_read_the_same(tmp_path, text):
    write(tmp_path, "a.txt", text)
    ada = identities.load("a", tmp_path)
    assert (ada.prompt, ada.ignored) == ("You are Ada.", "")


@pytest.mark.parametrize("text", ["", "\n", "  \nYou are Ada.\n"])
def test_an_empty_first_line_is_no_prompt(tmp_path, text):
    write(tmp_path, "a.txt", text)
    assert identities.load("a", tmp_path).prompt is None


def test_the_hash_follows_the_prompt(tmp_path):
    write(tmp_path, "a.txt", "You are Ada.")
    write(tmp_path, "b.txt", "You are Ada.\nignored")
    write(tmp_path, "c.txt", "You are Bo.")
    a, b, c = (identities.load(name, tmp_path).hash for name in "abc")
    assert a == b != c


def test_a_file_that_is_no_utf8_and_a_name_that_is_not_there_say_so(tmp_path):
    write(tmp_path, "a.txt", "你".encode("gb18030"))
    with pytest.raises(IdentityError, match=r"a\.txt: this is no UTF-8"):
        identities.load("a", tmp_path)
    with pytest.raises(IdentityError, match="no identity 'b' .* there are none, a"):
        identities.load("b", tmp_path)


def test_none_is_in_every_folder(tmp_path):
    assert identities.names(tmp_path) == ["none"]
    assert identities.load("none", tmp_path).prompt is None


BAD = ["", ".", "..", "../x", "a/b", "a\\b", " ", "a.txt", "x" * 65, "CON", "nul", "com1", "a\n", "/etc/x", "é", "~", None, 7]


@pytest.mark.parametrize("name", BAD)
def test_names_that_are_no_plain_names_are_refused_everywhere(tmp_path, name):
    write(tmp_path, "a.txt", "You are Ada.")
    for refuse in (
        lambda: identities.check_name(name),
        lambda: identities.load(name, tmp_path),
        lambda: identities.save(name, "x", tmp_path),
        lambda: identities.rename("a", name, tmp_path),
        lambda: identities.delete(name, tmp_path),
    ):
        with pytest.raises(IdentityError, match="is no name for an identity") as refused:
            refuse()
        assert "\n" not in str(refused.value)
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("name", ["a", "A-1_b", "百聆", "文本泰斗-2", "x" * 64, "console"])
def test_plain_names_go(tmp_path, name):
    assert identities.create(name, "You are Ada.", tmp_path).prompt == "You are Ada."
    assert identities.names(tmp_path) == ["none", name]


# --- writing


def test_saving_and_reading_give_the_same_prompt(tmp_path):
    prompt = '你是艾达。\nYou are Ada \u2028 "quoted" {braces} 100 % 🙂'
    identities.save("a", identities.to_line(prompt), tmp_path)
    assert identities.load("a", tmp_path).prompt == prompt
    again = identities.load("a", tmp_path)
    assert identities.save("a", again.text, tmp_path) == again


def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    identities.save("a", "You are Ada.", tmp_path)

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError):
        identities.save("a", "You are Bo.", tmp_path)
    assert identities.load("a", tmp_path).prompt == "You are Ada."
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("taken", ["ada", "Ada", "none", "None"])
def test_creating_and_renaming_never_overwrite(tmp_path, taken):
    identities.create("ada", "You are Ada.", tmp_path)
    identities.create("bo", "You are Bo.", tmp_path)
    with pytest.raises(IdentityError, match="already an identity"):
        identities.create(taken, "You are Bo.", tmp_path)
    with pytest.raises(IdentityError, match="already an identity"):
        identities.rename("bo", taken, tmp_path)
    assert identities.load("ada", tmp_path).prompt == "You are Ada."
    assert identities.load("bo", tmp_path).prompt == "You are Bo."


def test_a_name_whose_facts_file_lies_there_is_taken(tmp_path):
    write(tmp_path, "a.yaml", "en: {name: Somebody else}")
    with pytest.raises(IdentityError, match=r"already an identity 'a'"):
        identities.create("a", "You are Ada.", tmp_path)


def test_rename_and_delete_take_both_files(tmp_path):
    write(tmp_path, "a.txt", "You are Ada.")
    write(tmp_path, "a.yaml", "en: {name: Ada}")
    assert identities.rename("a", "b", tmp_path).facts.en.name == "Ada"
    assert sorted(os.listdir(tmp_path)) == ["b.txt", "b.yaml"]
    assert identities.rename("b", "B", tmp_path).name == "B"
    identities.delete("B", tmp_path)
    assert os.listdir(tmp_path) == []


def test_none_stays_none(tmp_path):
    for refuse in (
        lambda: identities.save("none", "You are Ada.", tmp_path),
        lambda: identities.rename("none", "a", tmp_path),
        lambda: identities.delete("none", tmp_path),
    ):
        with pytest.raises(IdentityError, match="'none'"):
            refuse()
    with pytest.raises(IdentityError, match="no identity 'a'"):
        identities.delete("a", tmp_path)


# --- the Chinese wording shares the facts


@pytest.fixture
def pair(tmp_path):
    write(tmp_path, "a.txt", "You are Ada.")
    write(tmp_path, "a-zh.txt", "你是艾达。")
    write(tmp_path, "a.yaml", "zh: {name: 艾达}")
    return tmp_path


def test_a_chinese_wording_has_the_facts_of_its_stem_unless_it_has_its_own(pair):
    assert identities.load("a-zh", pair).facts.zh.name == "艾达"
    write(pair, "a-zh.yaml", "zh: {name: 小艾}")
    assert identities.load("a-zh", pair).facts.zh.name == "小艾"
    assert identities.load("a", pair).facts.zh.name == "艾达"


@pytest.mark.parametrize("change", [lambda at: identities.delete("a", at), lambda at: identities.rename("a", "b", at)])
def test_a_chinese_wording_keeps_its_facts_when_its_stem_goes(pair, change):
    change(pair)
    assert identities.load("a-zh", pair).facts.zh.name == "艾达"


def test_a_chinese_wording_takes_its_facts_along(pair):
    assert identities.rename("a-zh", "b", pair).facts.zh.name == "艾达"
    assert identities.load("a", pair).facts.zh.name == "艾达"


# --- facts


def test_facts_are_read_as_written(tmp_path):
    write(tmp_path, "a.txt", "You are Ada.")
    write(
        tmp_path,
        "a.yaml",
        'en:\n  name: No\n  date: 2023-08\n  aliases: [Ada, 7]\nabout: {zh: 一句话}\nplaceholders: {"[NAME]": Ada}\nzh:\n',
    )
    facts = identities.load("a", tmp_path).facts
    assert facts.en == identities.Who(name="No", date="2023-08", aliases=("Ada", "7"))
    assert facts.zh is None
    assert (facts.about, facts.placeholders) == ({"zh": "一句话"}, {"[NAME]": "Ada"})


def test_all_faults_of_a_facts_file_come_at_once_with_their_lines(tmp_path):
    write(tmp_path, "a.txt", "You are Ada.")
    write(
        tmp_path,
        "a.yaml",
        "en:\n  nmae: Ada\n  maker: [a, b]\n  aliases: Ada\nzh: 艾达\nabuot: x\nabout: {fr: Ada}\nplaceholders: {'[NAME]': ''}\n",
    )
    with pytest.raises(IdentityError) as refused:
        identities.load("a", tmp_path)
    said = str(refused.value)
    assert said.startswith("a.yaml: ")
    for fault in (
        "line 2: unknown key en.nmae (did you mean name?)",
        "line 3: en.maker is a text",
        "line 4: en.aliases is a list of texts",
        "line 5: zh is a mapping",
        "line 6: unknown key abuot (did you mean about?)",
        "line 7: unknown key about.fr (known are en, zh)",
        "line 8: placeholders.[NAME] is a text, not empty",
    ):
        assert fault in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("en: {name: Ada\nzh: x", r"a\.yaml, line 2: this is no YAML"),
        ("- en\n- zh", "facts are a mapping"),
        ("en:\n  name: Ada\n  name: Bo\n", "line 3: en.name stands twice"),
        (b"en: {name: \xff}", "no UTF-8"),
        ("en: {[a, b]: c}", r"a\.yaml, line 1: this is no YAML"),
        ("en: &x {name: *x}", r"a\.yaml, line 1: this is no YAML"),
        ("en: {name: a\x07}", "no YAML"),
    ],
)
def test_a_file_of_facts_that_cannot_be_read_says_where(tmp_path, text, says):
    write(tmp_path, "a.txt", "You are Ada.")
    write(tmp_path, "a.yaml", text)
    with pytest.raises(IdentityError, match=says) as refused:
        identities.load("a", tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "# nothing yet\n"])
def test_an_empty_file_of_facts_knows_nothing(tmp_path, text):
    write(tmp_path, "a.txt", "You are Ada.")
    write(tmp_path, "a.yaml", text)
    assert identities.load("a", tmp_path).facts == identities.Facts()


def test_facts_from_plain_data():
    facts = identities.facts_from_dict({"en": {"name": "Ada", "date": 2026, "aliases": ["A."]}, "zh": None})
    assert facts.en == identities.Who(name="Ada", date="2026", aliases=("A.",))
    with pytest.raises(IdentityError, match=r"job: en\.name is a text; en\.aliases is a list"):
        identities.facts_from_dict({"en": {"name": 7, "aliases": [""]}}, "job")
