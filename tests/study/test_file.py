"""The study file: what it says, and everything that can be wrong with it, at once and with its line."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.errors import InputError
from earwitness.study.checked import FileFaults
from earwitness.study.file import parse_study, read_study
from earwitness.study.template import KINDS, study_template
from earwitness.study.toml_lines import toml_lines

SMALL = """
version = 1
name = "tiny"
[[path]]
name = "direct"
path = "direct"
[axes]
codec = "g711u"
places = [["Frankfurt", "London"]]
"""


def faults_of(text: str) -> dict[str, int]:
    """Key -> line of everything that is wrong."""
    with pytest.raises(FileFaults) as raised:
        parse_study(text)
    return {fault.key: fault.line for fault in raised.value.complaints}


@pytest.mark.parametrize("kind", KINDS)
def test_every_example_validates_and_each_default_has_its_reason(kind: str) -> None:
    text = study_template(kind, "mine")
    study = parse_study(text)
    assert study.name == "mine"
    settings = [line for line in text.splitlines() if "=" in line and not line.lstrip().startswith("#   ")]
    bare = [line for line in settings if "#" not in line and not line.startswith((" ", "name =", "path =", "hops ="))]
    assert bare == [], "a setting without its reason"


def test_commented_defaults_are_the_real_ones() -> None:
    shown = parse_study(study_template("small"))
    uncommented = "\n".join(
        line.removeprefix("# ") if line.startswith(("# least_repeats", "# measure")) else line
        for line in study_template("small").splitlines()
    )
    assert parse_study(uncommented).digest() == shown.digest()


def test_the_published_study_has_its_places_codecs_and_paths() -> None:
    study = parse_study(study_template("published"))
    assert len(set(study.axes.places)) == 15
    assert {codec.partition(":")[0] for codec in study.axes.codec} == {"g711u", "gsm", "speex", "opus"}
    assert [(arm.options["path"], arm.options.get("hops")) for arm in study.axes.path] == [
        ("direct", None),
        ("tor", 3),
        ("tor", 2),
    ]


def test_all_faults_are_told_at_once_with_their_lines() -> None:
    text = """version = 1
name = "a b"
sed = 3
[[path]]
name = "x"
path = "dirct"
[[path]]
name = "x"
path = "tor"
hops = 19
[axes]
codec = ["g711u",
  "opuss",
  "g711u"]
places = [["Frankfurt", "Lodnon"],
  ["a"]]
[design]
compare = ["pth"]
repeats = true
[stop]
rule = "half_width"
[call]
seconds = 2
"""
    assert faults_of(text) == {
        "name": 2,
        "sed": 3,
        "path[1].path": 6,
        "path[2].name": 8,
        "path[2].hops": 10,
        "axes.codec[2]": 13,
        "axes.codec[3]": 14,
        "axes.places[1][2]": 15,
        "axes.places[2]": 16,
        "design.compare[1]": 18,
        "design.repeats": 19,
        "stop.half_width": 20,
        "stop.least_repeats": 20,
        "call.seconds": 23,
    }


def test_each_fault_is_a_line_with_a_remedy() -> None:
    with pytest.raises(FileFaults) as raised:
        parse_study(SMALL.replace("g711u", "evs").replace("tiny", ""))
    lines = str(raised.value).splitlines()
    assert len(lines) == 3
    assert all("; " in line and line.strip().startswith("line ") for line in lines[1:])


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"path = ": "paths = "}, "path[1].paths"),
        ({'codec = "g711u"': "codec = []"}, "axes.codec"),
        ({"version = 1": "version = 2"}, "version"),
        ({'codec = "g711u"': 'codec = "g711u"\nspeech = "nobody"'}, "axes.speech[1]"),
        ({'codec = "g711u"': 'codec = "g711u"\nlink = "jiter=5"'}, "axes.link[1]"),
        ({'codec = "g711u"': 'codec = "g711u"\nphone = "rotary"'}, "axes.phone[1]"),
        ({'codec = "g711u"': 'codec = "g711u"\nload = "heavy"'}, "axes.load[1]"),
        ({"[axes]": "[retry]\nown = 0\n[axes]"}, "retry.own"),
        ({"[axes]": "[retries]\nown = 1\n[axes]"}, "retries"),
        ({'places = [["Frankfurt", "London"]]': ""}, "axes.places"),
        ({'name = "direct"': ""}, "path[1].name"),
        ({'path = "direct"': 'path = "direct"\nhops = "3"'}, "path[1].hops"),
    ],
)
def test_one_fault(change: dict[str, str], key: str) -> None:
    text = SMALL
    for old, new in change.items():
        assert old in text
        text = text.replace(old, new, 1)
    assert key in faults_of(text)


def test_what_is_not_toml_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="line 2"):
        parse_study("a = 1\nb = = 2")
    with pytest.raises(InputError, match="study init"):
        read_study(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b'name = "\xe9"')
    with pytest.raises(InputError, match="UTF-8"):
        read_study(tmp_path / "latin.toml")


def test_the_digest_holds_the_design_and_the_stopping_rule_and_nothing_else() -> None:
    small = parse_study(SMALL)
    assert parse_study(SMALL + "[run]\nat_once = 3\n[retry]\nown = 9").digest() == small.digest()
    assert parse_study(SMALL + '[stop]\nrule = "hours"\nhours = 2').digest() != small.digest()
    assert parse_study(SMALL.replace("London", "Paris")).digest() != small.digest()
    assert parse_study("# a remark\n" + SMALL).digest() == small.digest()


def test_lines_of_strings_dots_and_inline_tables() -> None:
    text = 'a = """\n[x]\n"""  # [y]\nb = {c = [1,\n 2], "d e" = 3}\n[t.u]\nv.w = \'#\'\n'
    text += "[[l]]\nk = 1\n[[l]]\nk = 2\n[l.s]\nz = 1"
    tomllib.loads(text)
    lines = toml_lines(text)
    assert lines["a",] == 1
    assert lines["b", "c", 1] == 5
    assert lines["b", "d e"] == 5
    assert lines["t", "u", "v", "w"] == 7
    assert (lines["l", 0, "k"], lines["l", 1, "k"], lines["l", 1, "s", "z"]) == (9, 11, 13)


@given(st.lists(st.tuples(st.text(alphabet="ab[]{}#=\"'\\\n,", max_size=12), st.integers(0, 9)), max_size=6))
def test_lines_survive_any_string(pairs: list[tuple[str, int]]) -> None:
    import json

    text, at = "", {}
    for number, (string, blanks) in enumerate(pairs):
        text += "\n" * blanks
        at[number] = text.count("\n") + 1
        text += f"k{number} = [{json.dumps(string)}, 1]  # {number}\n"
    tomllib.loads(text)
    lines = toml_lines(text)
    assert all(lines[f"k{number}",] == line == lines[f"k{number}", 1] for number, line in at.items())
