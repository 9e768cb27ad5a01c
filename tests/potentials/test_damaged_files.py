"""Files that are no saved potentials are refused in one line, whatever is wrong with them."""

import errno
import os

import pytest
import torch

from asediff.host.files import FileError
from asediff.potentials import LennardJones, PairPotential, load_potential, save_potential


@pytest.fixture
def path(tmp_path):
    save_potential(PairPotential(LennardJones(), 2.5), tmp_path / "p.pt")
    return tmp_path / "p.pt"


def change(path, **changes):
    torch.save(torch.load(path, weights_only=True) | changes, path)


def one_line(path):
    with pytest.raises(ValueError, match=r"^path: .*p\.pt .*; [^;]+$") as caught:
        load_potential(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("size", [0, 10, 300, 1000])
def test_files_cut_short(path, size):
    path.write_bytes(path.read_bytes()[:size])
    assert "is not a saved potential; give a file written by save_potential" in one_line(path)


def test_garbage(path):
    path.write_bytes(os.urandom(5000))
    assert "is not a saved potential" in one_line(path)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"radial": {"all": {"kind": "Buckingham"}}}, "the radial function 'Buckingham' is unknown to this version"),
        ({"truncation": {"kind": "Cliff"}}, "the truncation 'Cliff' is unknown to this version, which has Truncated"),
        ({"radial": 3}, "AttributeError"),
        ({"radial": {}}, "can use"),
        ({"state": {}}, "Missing key|RuntimeError"),
        ({"cutoff": "far"}, "can use"),
        ({"cutoff": None}, "can use"),
        ({"truncation": {"kind": "Switched", "onset": "x", "colour": 3}}, "can use"),
        ({"format": 7}, "is not a saved potential of format 1"),
    ],
)
def test_contents_that_make_no_potential(path, changes, reason):
    change(path, **changes)
    found = one_line(path)
    assert any(part in found for part in reason.split("|")), found


def test_missing_contents(path):
    for key in ("radial", "cutoff", "truncation", "core", "n_knots", "state"):
        content = torch.load(path, weights_only=True)
        torch.save({k: v for k, v in content.items() if k != key}, path.with_name("x_p.pt"))
        assert key in one_line(path.with_name("x_p.pt"))


def test_a_full_disk_leaves_the_file_before(path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = path.read_bytes()
    monkeypatch.setattr("asediff.host.files.os.fsync", full)
    with pytest.raises(FileError, match="No space left on device"):
        save_potential(PairPotential(LennardJones(2.0), 2.5), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["p.pt"]
