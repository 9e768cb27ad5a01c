"""Result folders: what asediff wrote is listed, and nothing else is ever replaced or removed."""

import errno
import json
import os

import pytest

from asediff.host.files import FileError
from asediff.host.folders import ResultFolder
from asediff.host.locks import LOCK
from asediff.host.manifest import MARKER, FolderError
from asediff.host.scratch import MARK, SCRATCH, scratch_folder


def listing(folder):
    """Every path in a folder, hidden ones included."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture
def results(tmp_path):
    """A folder with two results, one of them in a folder inside."""
    folder = tmp_path / "result"
    with ResultFolder.made(folder, "fit") as made:
        made.write("a.txt", b"a")
        made.write("deep/er/b.txt", b"b")
    return folder


def test_what_is_written_is_listed_and_nothing_temporary_stays(results):
    assert listing(results) == [MARKER, "a.txt", "deep", "deep/er", "deep/er/b.txt"]
    manifest = json.loads((results / MARKER).read_text())
    assert manifest["program"] == "asediff"
    assert manifest["kind"] == "fit"
    assert manifest["files"] == ["a.txt", "deep/er/b.txt"]


def test_a_file_is_listed_before_it_is_there(results, monkeypatch):
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with ResultFolder.existing(results, "fit") as folder:
        monkeypatch.setattr("asediff.host.folders.Path.mkdir", killed)
        with pytest.raises(KeyboardInterrupt):
            folder.write("c.txt", b"c")
    assert "c.txt" in json.loads((results / MARKER).read_text())["files"]
    assert not (results / "c.txt").exists()


def test_overwriting_removes_what_is_listed_and_folders_that_become_empty(results):
    with ResultFolder.made(results, "fit", overwrite=True) as folder:
        folder.clear()
        folder.write("c.txt", b"c")
    assert listing(results) == [MARKER, "c.txt"]


def test_an_existing_result_is_kept_unless_asked(results):
    with pytest.raises(FolderError, match="result: exists; choose another folder, --overwrite or --resume"):
        ResultFolder.refuse(results, "fit", overwrite=False)


@pytest.mark.parametrize("name", ["notes.txt", "deep/notes.txt", ".hidden", "new/notes.txt", ".a.txt.part"])
def test_a_folder_with_files_of_the_user_is_not_overwritten(results, name):
    (results / name).parent.mkdir(exist_ok=True)
    (results / name).write_text("words")
    with (
        pytest.raises(FolderError, match=rf"holds {name}, which asediff did not write"),
        ResultFolder.made(results, "fit", overwrite=True),
    ):
        pass
    assert (results / name).read_text() == "words"
    assert (results / "a.txt").is_file()


def test_a_folder_of_somebody_else_with_the_same_file_names_is_never_overwritten(tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    for name in ("config.yaml", "potential.pt", "checkpoint.pt"):
        (folder / name).write_text("theirs")
    before = listing(folder)
    with pytest.raises(FolderError, match=r"theirs: holds no fit with a list of its files \(\.asediff\)"):
        ResultFolder.refuse(folder, "fit", overwrite=True)
    with pytest.raises(FolderError, match=r"theirs: holds no fit"), ResultFolder.existing(folder, "fit"):
        pass
    with ResultFolder.opened(folder, "fit") as opened, pytest.raises(FolderError, match=r"config\.yaml: exists, and"):
        opened.write("config.yaml", b"mine")
    assert listing(folder) == before
    assert (folder / "config.yaml").read_text() == "theirs"


def test_results_of_another_kind_are_not_overwritten(results):
    with pytest.raises(FolderError, match="holds results of fit, not of export"):
        ResultFolder.refuse(results, "export", overwrite=True)


def test_result_folders_inside_are_kept(results):
    with ResultFolder.made(results / "inner", "export") as inner:
        inner.write("c.txt", b"c")
    with ResultFolder.made(results, "fit", overwrite=True) as folder:
        folder.clear()
    assert "inner/c.txt" in listing(results)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[1, 2]",
        b"\xff\xfe",
        b'{"program": "other", "format": 1, "kind": "fit", "token": "0123456789abcdef", "files": []}',
        b'{"program": "asediff", "format": 2, "kind": "fit", "token": "0123456789abcdef", "files": []}',
        b'{"program": "asediff", "format": 1, "kind": "fit", "token": ".*", "files": []}',
        b'{"program": "asediff", "format": 1, "kind": "fit", "token": "0123456789abcdef", "files": ["../a"]}',
        b'{"program": "asediff", "format": 1, "kind": "fit", "token": "0123456789abcdef", "files": ["/etc/passwd"]}',
        b'{"program": "asediff", "format": 1, "kind": "fit", "token": "0123456789abcdef", "files": ["a/../../b"]}',
        b'{"program": "asediff", "format": 1, "kind": "fit", "token": "0123456789abcdef", "files": [".asediff"]}',
        b'{"program": "asediff", "format": 1, "kind": "fit", "token": "0123456789abcdef", "files": [1]}',
        b'{"program": "asediff", "format": 1, "kind": "fit", "token": "0123456789abcdef", "files": null}',
    ],
)
def test_a_list_of_files_that_is_damaged_or_leads_outside_is_not_believed(results, content):
    (results / MARKER).write_bytes(content)
    for overwrite in (True, False):
        with pytest.raises(FolderError, match=r"its list of files, \.asediff, is damaged or of another version"):
            ResultFolder.refuse(results, "fit", overwrite=overwrite)
    assert (results / "a.txt").is_file()


@pytest.mark.parametrize("name", ["deep", "deep/er", "deep/er/b.txt", "a.txt"])
def test_links_in_the_place_of_results_are_not_followed(results, tmp_path, name):
    elsewhere = tmp_path / "elsewhere"
    (results / name).rename(elsewhere)
    (results / name).symlink_to(elsewhere)
    before = listing(tmp_path)
    with (
        pytest.raises(FolderError, match="did not"),
        ResultFolder.made(results, "fit", overwrite=True) as folder,
    ):
        folder.clear()
    with pytest.raises(FolderError, match="is a link"), ResultFolder.existing(results, "fit") as folder:
        folder.clear()
    assert listing(tmp_path) == before


def test_a_link_that_appears_while_files_are_removed_is_not_followed(results, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    with ResultFolder.existing(results, "fit") as folder:
        (results / "deep").rename(elsewhere)
        (results / "deep").symlink_to(elsewhere)
        with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
            folder._unlink("deep/er/b.txt")
    assert (elsewhere / "er/b.txt").is_file()


def test_nothing_is_written_through_a_link(results, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (results / "new").symlink_to(elsewhere)
    with ResultFolder.existing(results, "fit") as folder, pytest.raises(FolderError, match="new: is a link"):
        folder.write("new/c.txt", b"c")
    assert list(elsewhere.iterdir()) == []


def test_a_start_that_was_killed_is_cleared_away_and_files_like_its_own_are_not(results):
    token = json.loads((results / MARKER).read_text())["token"]
    (results / f".b.{token}-3.part").write_text("cut sho")
    (results / f".scratch.{token}-4.part").mkdir()
    (results / f".scratch.{token}-4.part/x").write_text("x")
    others = [".b.part", f".b.{'0' * 16}-3.part", f"b.{token}-3.part"]
    for name in others:
        (results / name).write_text("words")
    with ResultFolder.existing(results, "fit"):
        pass
    assert listing(results) == sorted([MARKER, "a.txt", "deep", "deep/er", "deep/er/b.txt", *others])


def test_links_with_temporary_names_are_removed_themselves(results, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/words").write_text("words")
    token = json.loads((results / MARKER).read_text())["token"]
    (results / f".scratch.{token}-4.part").symlink_to(tmp_path / "elsewhere")
    with ResultFolder.existing(results, "fit"):
        pass
    assert (tmp_path / "elsewhere/words").is_file()
    assert not os.path.lexists(results / f".scratch.{token}-4.part")


def test_a_folder_killed_before_its_first_file_counts_as_empty(tmp_path):
    folder = tmp_path / "result"
    folder.mkdir()
    token = "0123456789abcdef"
    owner = {"pid": 2**22 + 1, "host": os.uname().nodename, "started": "", "since": "", "command": "", "token": token}
    (folder / LOCK).write_text(json.dumps(owner))
    (folder / f".asediff.{token}-0.part").write_text("{")
    with ResultFolder.made(folder, "fit") as made:
        made.write("a.txt", b"a")
    assert listing(folder) == [MARKER, "a.txt"]


def test_a_new_folder_vanishes_when_nothing_comes_of_it(tmp_path):
    def fail() -> None:
        with ResultFolder.made(tmp_path / "a/b", "fit") as folder, folder.staged() as stage:
            (stage / "x").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert listing(tmp_path) == []
    (tmp_path / "mine").mkdir()
    with ResultFolder.made(tmp_path / "mine", "fit"):
        pass
    assert listing(tmp_path) == ["mine"]


def test_staged_files_move_together_or_not_at_all(results):
    (results / "theirs.txt").write_text("words")

    def write_both() -> None:
        with ResultFolder.existing(results, "fit") as folder, folder.staged() as stage:
            (stage / "a.txt").write_text("new")
            (stage / "theirs.txt").write_text("mine")

    with pytest.raises(FolderError, match=r"theirs\.txt: exists, and asediff did not write it"):
        write_both()
    assert (results / "a.txt").read_text() == "a"
    assert (results / "theirs.txt").read_text() == "words"
    with ResultFolder.existing(results, "fit") as folder, folder.staged() as stage:
        (stage / "a.txt").write_text("new")
        (stage / "more/deep").mkdir(parents=True)
        (stage / "more/deep/c.txt").write_text("c")
    assert (results / "a.txt").read_text() == "new"
    assert listing(results) == [
        *(MARKER, "a.txt", "deep", "deep/er", "deep/er/b.txt", "more", "more/deep", "more/deep/c.txt", "theirs.txt"),
    ]


def test_a_full_disk_is_one_line_and_leaves_results_as_they_are(results, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with ResultFolder.existing(results, "fit") as folder:
        before = listing(results)
        monkeypatch.setattr("asediff.host.files.os.fsync", full)
        with pytest.raises(FileError, match=r"a\.txt: cannot be written \(No space left on device\); free some space"):
            folder.write("a.txt", b"new")
        with pytest.raises(FileError, match="No space left"), folder.staged() as stage:
            (stage / "a.txt").write_text("new")
        assert listing(results) == before
    assert (results / "a.txt").read_text() == "a"


def test_a_full_disk_while_staging_names_the_folder(results):
    with (
        ResultFolder.existing(results, "fit") as folder,
        pytest.raises(FileError, match="result: cannot be written"),
        folder.staged(),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("what", ["file", "dangling link"])
def test_a_path_that_is_no_folder_is_refused(tmp_path, what):
    path = tmp_path / "result"
    if what == "file":
        path.write_text("words")
    else:
        path.symlink_to(tmp_path / "nowhere")
    for overwrite in (True, False):
        with pytest.raises(FolderError, match="result: "):
            ResultFolder.refuse(path, "fit", overwrite=overwrite)
    assert os.path.lexists(path)


def test_scratch_folders_of_killed_processes_are_removed_and_those_in_use_are_not(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    abandoned, foreign, young = (tmp_path / f"{SCRATCH}{name}" for name in ("abandoned", "foreign", "young"))
    for folder in (abandoned, foreign, young):
        folder.mkdir()
        (folder / "x").write_text("x")
    owner = {"pid": 2**22 + 1, "host": os.uname().nodename, "started": "", "since": "", "command": "", "token": ""}
    (abandoned / LOCK).write_text(json.dumps(owner))
    (abandoned / MARK).touch()
    (young / LOCK).write_text("")
    # a fit that was killed, in a result folder that is called like a temporary one
    results = tmp_path / f"{SCRATCH}water"
    results.mkdir()
    (results / LOCK).write_text(json.dumps(owner))
    (results / "checkpoint.pt").write_text("hours of work")
    with scratch_folder() as outer, scratch_folder() as inner:
        assert outer.is_dir()
        assert inner.is_dir()
        assert not abandoned.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [foreign.name, results.name, young.name]
    assert (results / "checkpoint.pt").read_text() == "hours of work"
