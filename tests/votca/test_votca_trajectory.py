import numpy as np
import pytest

from asediff.votca import VotcaError, read_frames, read_pressure

FRAME = """ITEM: TIMESTEP
{step}
ITEM: NUMBER OF ATOMS
2
ITEM: BOX BOUNDS pp pp pp
-1 9
0 20
0 30
ITEM: ATOMS id type {columns}
2 5 {b}
1 4 {a}
"""


def test_a_dump_is_read_in_order_of_id_and_scaled(tmp_path):
    text = FRAME.format(step=100, columns="x y z", a="-1 2 3", b="4 5 6")
    (tmp_path / "t.dump").write_text(text + text.replace("TIMESTEP\n100", "TIMESTEP\n200"))
    (tmp_path / "s.dump").write_text(FRAME.format(step=300, columns="xs ys zs", a="0 0.5 1", b="0 0 0"))
    frames = read_frames(tmp_path / "t.dump") + read_frames(tmp_path / "s.dump")
    assert [frame.info["step"] for frame in frames] == [100, 200, 300]
    np.testing.assert_allclose(frames[1].positions, [[0, 0.2, 0.3], [0.5, 0.5, 0.6]])
    np.testing.assert_allclose(frames[2].positions[0], [0, 1, 3])
    np.testing.assert_allclose(frames[0].cell.lengths(), [1, 2, 3])
    assert frames[0].arrays["type"].tolist() == [4, 5]
    assert frames[0].pbc.all()


def test_first_frame_counts_from_one(tmp_path):
    text = "".join(FRAME.format(step=k, columns="xu yu zu", a="0 0 0", b="1 1 1") for k in range(4))
    (tmp_path / "t.dump").write_text(text)
    for first, n_frames in ((0, 4), (1, 4), (3, 2)):
        assert len(read_frames(tmp_path / "t.dump", first_frame=first, length_scale=1.0)) == n_frames
    with pytest.raises(VotcaError, match="4 frame"):
        read_frames(tmp_path / "t.dump", first_frame=5)


def test_an_oblique_box_is_unfolded_from_its_bounds(tmp_path):
    text = FRAME.format(step=1, columns="xs ys zs", a="0 0 0", b="0.5 0.5 0.5")
    text = text.replace("BOUNDS pp pp pp\n-1 9\n0 20\n0 30", "BOUNDS xy xz yz pp pp pp\n0 13 3\n-2 20 0\n0 30 -2")
    (tmp_path / "t.dump").write_text(text)
    frame = read_frames(tmp_path / "t.dump", length_scale=1.0)[0]
    np.testing.assert_allclose(frame.cell.array, [[10, 0, 0], [3, 20, 0], [0, -2, 30]])
    np.testing.assert_allclose(frame.positions[1], [6.5, 9, 15])


def test_elements_are_read_as_chemical_symbols(tmp_path):
    text = FRAME.format(step=1, columns="element x y z", a="O 1 2 3", b="H 4 5 6")
    (tmp_path / "t.dump").write_text(text)
    frame = read_frames(tmp_path / "t.dump", length_scale=1.0)[0]
    assert (frame.get_chemical_symbols(), frame.arrays["type"].tolist()) == (["O", "H"], [4, 5])
    np.testing.assert_allclose(frame.positions, [[2, 2, 3], [5, 5, 6]])


def test_a_broken_or_missing_trajectory_is_named(tmp_path):
    text = FRAME.format(step=1, columns="x y z", a="0 0 0", b="1 1 1")
    (tmp_path / "t.dump").write_text(text + text[:90])
    with pytest.raises(VotcaError, match=r"t.dump: frame 1 has no complete head; the run that wrote it did not end"):
        read_frames(tmp_path / "t.dump")
    with pytest.raises(VotcaError, match="no such trajectory"):
        read_frames(tmp_path / "u.dump")


def test_pressure_is_the_mean_below_the_title(tmp_path):
    (tmp_path / "p.out").write_text("title 7\n1.5\n2.5 9\n")
    assert read_pressure(tmp_path / "p.out") == 2.0
    (tmp_path / "p.out").write_text("title\n")
    with pytest.raises(VotcaError, match="no pressure"):
        read_pressure(tmp_path / "p.out")
