"""YAML within bounds: what is read as in YAML 1.2, and one line for what would never end."""

import pytest

from asediff.app.config import ConfigError, override, read_yaml
from asediff.app.config.yaml_files import LARGEST_FILE, MOST_VALUES, dump_yaml, parse_yaml

BOMB = "a: &a [1, 2, 3, 4, 5, 6, 7, 8, 9]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 5000, ":1: sections are nested more than 40 deep"),
        ("a: " + "{a: " * 5000 + "1" + "}" * 5000, ":1: sections are nested more than 40 deep"),
        ("- " * 5000, "nested more than 40 deep"),
        ("a: 1\n? [a, b]\n: 1", ":2: a key is a list or a section; keys are words"),
        ("{a: 1}: 2", ":1: a key is a list"),
        ("system: &a {system: *a}", r":1: the alias \*a stands for what contains it"),
        ("a: &a [*a]", "stands for what contains it"),
        (BOMB, f"more than {MOST_VALUES} values, aliases written out"),
        ("a: &a {x: 1}\nb: {<<: " + "[" + ", ".join(["*a"] * MOST_VALUES) + "]}", f"more than {MOST_VALUES} values"),
        ("\n".join(f"k{k}: 1" for k in range(MOST_VALUES)), f"more than {MOST_VALUES} values"),
        ("a: " + "9" * 5000, ":1: a number of 5000 digits"),
        ("a: !!python/object/apply:os.system [ls]", r":1: the tag 'tag:yaml.org,2002:python/object/apply:os.system'"),
        ("a: !!int x", "is not understood; write the value without a tag"),
        ("a: !!timestamp 2001-99-99", "is not understood"),
        ("a: 1\na: 2", ":2: 'a' occurs twice"),
        ("a: b: c", ":1: mapping values are not allowed here"),
        ("- 1", "holds no keys"),
        ("", "holds no keys"),
        ("\0", "not a YAML text file"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_its_place(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=message) as error:
        read_yaml(tmp_path / "a.yaml")
    assert "\n" not in str(error.value)


def test_a_file_that_is_none_or_no_text_is_named(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"a: \xff\xfe")
    (tmp_path / "huge.yaml").write_bytes(b"a" * (LARGEST_FILE + 1))
    for name, message in (
        ("none.yaml", "no such file"),
        ("pipe.yaml", "is a pipe"),
        ("binary.yaml", "not a text file in UTF-8"),
        ("huge.yaml", r"1\.0 MB are more than the 1 MB"),
    ):
        with pytest.raises(ConfigError, match=f"{name}: {message}"):
            read_yaml(tmp_path / name)


def test_aliases_and_merges_of_sensible_size_are_read():
    text = "x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}\nz: *x"
    assert parse_yaml(text) == {"x": {"a": 1, "b": 2}, "y": {"a": 1, "b": 3}, "z": {"a": 1, "b": 2}}


def test_numbers_are_those_of_yaml_1_2():
    text = "[0x1F, 0o17, 010, 1:30, 1_000, 1e-3, -.5, .inf, 12e3, '1e3', No, 0b1]"
    expected = [31, 15, 10, "1:30", "1_000", 1e-3, -0.5, float("inf"), 12e3, "1e3", "No", "0b1"]
    assert parse_yaml(text) == expected


@pytest.mark.parametrize(
    "value", ["1e5", "0x10", "08", "No", "1:30", ".5", "", "null", "a: b", 1e-7, 1e22, -3, True, None]
)
def test_what_is_written_is_read_back(value):
    assert parse_yaml(dump_yaml({"key": value})) == {"key": value}


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        (".".join("a" * 5000) + "=1", "not an assignment"),
        ("system=" + "[" * 5000, "not a YAML value .sections are nested"),
        ("state_points.²=1", "'²' is not an item of a list of 1; count from 0"),
        ("state_points.-1=1", "'-1' is not an item"),
        ("x=\0", "not a YAML value; quote it"),
    ],
)
def test_assignments_have_the_same_bounds(assignment, message):
    with pytest.raises(ConfigError, match=message) as error:
        override({"state_points": [{}]}, [assignment])
    assert len(str(error.value)) < 300
