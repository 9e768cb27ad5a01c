"""Files appear whole or not at all; names of files do not meet."""

import errno
import os

import pytest

from asediff.host.files import FileError, check_names, file_name, write_whole


def test_a_file_is_replaced_in_one_step(tmp_path):
    path = tmp_path / "a.txt"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS, errno.EIO])
def test_what_the_system_refuses_is_one_line_and_the_old_file_stays(tmp_path, monkeypatch, number):
    path = tmp_path / "a.txt"
    write_whole(path, b"old")

    def refuse(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("asediff.host.files.os.fsync", refuse)
    with pytest.raises(FileError, match=rf"a\.txt: cannot be written \({os.strerror(number)}\); \w+") as caught:
        write_whole(path, b"new")
    assert caught.value.errno == number
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.txt"]


def test_an_interrupt_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("asediff.host.files.os.fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "a.txt", b"new")
    assert list(tmp_path.iterdir()) == []


def test_an_unfinished_file_of_somebody_else_is_not_touched(tmp_path):
    unfinished = tmp_path / "theirs"
    unfinished.write_text("words")
    with pytest.raises(FileError, match=r"a: cannot be written \(File exists\)"):
        write_whole(tmp_path / "a", b"new", unfinished=unfinished)
    assert unfinished.read_text() == "words"
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("kT 1", "kT_1"),
        ("O/H", "O_H"),
        ("../../etc/passwd", "etc_passwd"),
        ("", "unnamed"),
        ("..", "unnamed"),
        ("-rf", "rf"),
        ("rdf_Ar-Ar", "rdf_Ar-Ar"),
        ("300 K, 0.997 g/cm³", "300_K_0.997_g_cm³"),
        ("a\nb\0c", "a_b_c"),
        ("über", "u\u0308ber"),
    ],
)
def test_names_become_names_of_files(name, cleaned):
    assert file_name(name) == file_name(cleaned)
    assert set(file_name(name)).isdisjoint("/\\\0\n")
    assert not file_name(name).startswith((".", "-"))


def test_long_names_are_cut_and_stay_different():
    one, two = (file_name("ü" * 200 + end) for end in "ab")
    assert len(one.encode()) <= 80
    assert one != two


@pytest.mark.parametrize("names", [["O/H", "O_H"], ["water", "Water"], ["a", "b", "a"], ["é", "e\u0301"], ["", ".."]])
def test_names_that_would_share_files_are_refused_by_both_places(names):
    last = len(names) - 1
    with pytest.raises(ValueError, match=rf"state_points\[{last}\]\.name: .* of state_points\[0\]; give them names"):
        check_names("state_points", names)
    check_names("state_points", names[:-1])
