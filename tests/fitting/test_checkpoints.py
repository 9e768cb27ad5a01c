"""Checkpoints: written whole, refused in one line when they are not what they should be, one fit per folder."""

import errno
import os

import pytest
import torch

from asediff.engines import DiluteEngine
from asediff.fitting import IBI, IMC, fit
from asediff.fitting.api import CHECKPOINT, CHECKPOINT_FORMAT
from asediff.host.files import FileError
from asediff.host.folders import ResultFolder
from asediff.host.locks import InUseError
from asediff.host.manifest import MARKER, FolderError
from asediff.potentials import save_potential
from asediff.targets.target import StatePoint, Target

from .closed_form import dilute_point, lennard_jones, shallower

POINT = dilute_point(lennard_jones())


def learn(folder, point=POINT, method=None, **options):
    method = IMC(DiluteEngine(), 2) if method is None else method
    given = {"validation": None, "resume": True, "progress": False} | options
    return fit(shallower(lennard_jones()), point, method, folder=folder, **given)


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def garbage(path):
    path.write_bytes(bytes(range(256)) * 40)


def foreign(path):
    torch.save({"state_dict": {"weight": torch.zeros(3)}, "format": CHECKPOINT_FORMAT, "seed": 0}, path)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (truncated, "is cut short, damaged or no checkpoint"),
        (lambda path: path.write_bytes(b""), "is cut short, damaged or no checkpoint"),
        (garbage, "is cut short, damaged or no checkpoint"),
        (lambda path: torch.save([1, 2], path), "is cut short, damaged or no checkpoint"),
        (foreign, "is cut short, damaged or no checkpoint"),
        (lambda path: save_potential(lennard_jones(), path), "was written by another version of asediff"),
    ],
    ids=["cut short", "empty", "garbage", "list", "foreign", "potential"],
)
def test_what_is_no_checkpoint_is_refused_in_one_line_and_kept(tmp_path, damage, reason):
    learn(tmp_path)
    damage(tmp_path / CHECKPOINT)
    before = (tmp_path / CHECKPOINT).read_bytes()
    with pytest.raises(
        ValueError, match=rf"resume: .*checkpoint\.pt {reason}.*; start anew in another folder"
    ) as caught:
        learn(tmp_path)
    assert "\n" not in str(caught.value)
    assert (tmp_path / CHECKPOINT).read_bytes() == before


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "evil"),))

    learn(tmp_path)
    torch.save(Evil(), tmp_path / CHECKPOINT)
    with pytest.raises(ValueError, match="no checkpoint of asediff"):
        learn(tmp_path)
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"method": IBI(DiluteEngine(), 2)},
        {"point": dilute_point(lennard_jones(), kT=1.5)},
        {"point": [POINT, dilute_point(lennard_jones(), kT=1.5)]},
    ],
    ids=["method", "temperature", "number of state points"],
)
def test_a_checkpoint_of_another_fit_is_refused(tmp_path, changes):
    learn(tmp_path)
    with pytest.raises(ValueError, match="was written by a fit with another method or other state points; start anew"):
        learn(tmp_path, **changes)


def test_a_full_disk_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    learn(tmp_path)
    before = (tmp_path / CHECKPOINT).read_bytes()
    names = sorted(path.name for path in tmp_path.iterdir())

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("asediff.host.files.os.fsync", full)
        with pytest.raises(FileError, match=r"checkpoint\.pt: cannot be written \(No space left on device\)"):
            learn(tmp_path, method=IMC(DiluteEngine(), 4))
    assert (tmp_path / CHECKPOINT).read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    whole, resumed = (learn(folder, method=IMC(DiluteEngine(), 4)).potential for folder in (None, tmp_path))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_file_of_somebody_else_is_refused_before_the_fit(tmp_path, monkeypatch):
    (tmp_path / CHECKPOINT).write_text("theirs")
    monkeypatch.setattr(IMC, "run", None)
    for resume in (True, False):
        with pytest.raises(FolderError, match=r"checkpoint\.pt: exists, and asediff did not write it"):
            learn(tmp_path, resume=resume)
    assert (tmp_path / CHECKPOINT).read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == [CHECKPOINT]


def test_a_folder_in_use_is_refused(tmp_path):
    with (
        ResultFolder.opened(tmp_path, "fit"),
        pytest.raises(InUseError, match=f"in use by process {os.getpid()}"),
    ):
        learn(tmp_path)


@pytest.mark.parametrize("names", [("O/H", "O_H"), ("oh", "OH"), ("rdf-1", "rdf", "rdf")])
def test_targets_whose_files_would_meet_are_refused_before_the_fit(tmp_path, monkeypatch, names):
    target = POINT.targets[0]
    point = StatePoint(POINT.system, [Target(target.observable, target.reference, name=n) for n in names], kT=1.0)
    monkeypatch.setattr(IMC, "run", None)
    with pytest.raises(ValueError, match=r"state_points\[0\]\.targets\[1\]\.name: .* would share its files with"):
        learn(tmp_path, point=point)


class TestSavedResults:
    def test_a_target_may_have_any_name(self, tmp_path):
        target = POINT.targets[0]
        point = StatePoint(POINT.system, Target(target.observable, target.reference, name="O/H"), kT=1.0)
        result = learn(None, point=point, validation=DiluteEngine())
        result.save(tmp_path / "saved")
        assert (tmp_path / "saved/curve_0_O_H.csv").is_file()
        assert list(result.as_dict()["state_points"][0]["targets"]) == ["O/H"]

    def test_saving_again_replaces_what_was_saved_and_nothing_else(self, tmp_path):
        result = learn(tmp_path, validation=DiluteEngine())
        result.save(tmp_path)
        (tmp_path / "notes.txt").write_text("words")
        before = (tmp_path / "potential.csv").read_bytes()
        result.save(tmp_path)
        assert (tmp_path / "potential.csv").read_bytes() == before
        assert (tmp_path / "notes.txt").read_text() == "words"

    def test_a_file_of_somebody_else_is_not_replaced(self, tmp_path):
        (tmp_path / "history.csv").write_text("theirs")
        with pytest.raises(FolderError, match=r"history\.csv: exists, and asediff did not write it"):
            learn(None, validation=DiluteEngine()).save(tmp_path)
        assert (tmp_path / "history.csv").read_text() == "theirs"
        assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]

    def test_what_has_not_been_measured_is_not_told_as_if_it_had(self, tmp_path):
        points = [POINT, dilute_point(lennard_jones(), kT=1.5)]
        told = learn(None, point=points).as_dict()
        assert told["parts"] == {"fit": True, "independent_runs": []}
        assert [row["measured"] for row in told["state_points"]] == [False, False]
        assert "pressure" not in told["state_points"][0]
        told = learn(None, point=points, validation=DiluteEngine()).as_dict()
        assert told["parts"]["independent_runs"] == [point.name for point in points]
        assert [row["measured"] for row in told["state_points"]] == [True, True]
        assert (tmp_path / MARKER).exists() is False
