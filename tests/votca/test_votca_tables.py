import numpy as np
import pytest

from asediff.votca import Table, VotcaError, grid_points, read_table, write_table


def test_a_table_survives_writing_and_reading(tmp_path):
    table = Table([0.1, 0.2, 0.3], [1 / 3, -2e-300, 7e10], "iou")
    write_table(tmp_path / "a.tab", table, comment="two\nlines")
    back = read_table(tmp_path / "a.tab")
    assert (back.x == table.x).all()
    assert (back.y == table.y).all()
    assert "".join(back.flag) == "iou"
    assert (tmp_path / "a.tab").read_text().startswith("# two\n# lines\n0.1 0.33")


def test_errors_are_the_third_of_four_columns(tmp_path):
    write_table(tmp_path / "a.tab", Table([0.0, 1.0], [2.0, 3.0], "io", yerr=[0.1, 0.2]))
    back = read_table(tmp_path / "a.tab")
    assert back.yerr.tolist() == [0.1, 0.2]
    assert back.flag.tolist() == ["i", "o"]


def test_comments_and_blank_lines_are_skipped_and_nan_is_read(tmp_path):
    (tmp_path / "a.tab").write_text("# head\n@ xmgrace\n\n  0 NaN u\n0.5 1e3 i # tail\n")
    back = read_table(tmp_path / "a.tab")
    assert np.isnan(back.y[0])
    assert back.y[1] == 1000.0


def test_digits_are_those_asked_for(tmp_path):
    write_table(tmp_path / "a.tab", Table([0.0, 1 / 3], [1 / 7, 2.0], "ii"), digits=10)
    assert (tmp_path / "a.tab").read_text() == "0 0.1428571429 i\n0.3333333333 2 i\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 1 i\n0.1 2\n", ["a.tab", "line 2", "flag is missing", "sloppy"]),
        ("0 1 i\n0.1 2 3\n", ["a.tab", "line 2", "flag is missing"]),
        ("0 1 i\n0.1 x i\n", ["a.tab", "line 2", "'x' is not a number"]),
        ("0 1 i\n0.1 2 i\n0.3 2 i\n0.4 1 i\n0.5 1 i\n", ["a.tab", "line 3", "gap", "0.1 to 0.3"]),
        ("0 1 i\n0.1 2 i\n0.1 2 i\n", ["a.tab", "line 3", "does not increase"]),
        ("0.1 i\n0.2 i\n", ["a.tab", "line 1", "expected x y flag"]),
        ("# nothing\n", ["a.tab", "no rows"]),
    ],
)
def test_a_bad_table_is_refused_with_file_line_and_reason(tmp_path, text, words):
    (tmp_path / "a.tab").write_text(text)
    with pytest.raises(VotcaError) as caught:
        read_table(tmp_path / "a.tab")
    assert all(word in str(caught.value) for word in words), caught.value
    assert "\n" not in str(caught.value)


def test_an_uneven_target_can_be_read_on_request(tmp_path):
    (tmp_path / "a.tab").write_text("0 1\n0.1 2\n0.3 2\n")
    assert len(read_table(tmp_path / "a.tab", uniform=False, sloppy=True)) == 3


@pytest.mark.parametrize(
    ("x", "y", "flag", "word"),
    [
        ([0.0, 1.0], [1.0], "ii", "rows"),
        ([0.0, 1.0], [1.0, 2.0], "ix", "flag 'x'"),
        ([1.0, 1.0], [1.0, 2.0], "ii", "does not increase"),
        ([0.0, np.nan], [1.0, 2.0], "ii", "does not increase"),
    ],
)
def test_a_bad_table_cannot_be_made(x, y, flag, word):
    with pytest.raises(VotcaError, match=word):
        Table(x, y, flag)


def test_the_last_grid_point_is_exact_and_the_step_is_stretched():
    assert grid_points(0.2, 0.015, 1.0)[-1] == 1.0
    assert len(grid_points(0.2, 0.015, 1.0)) == 54
    assert len(grid_points(0, 0.01, 0.9)) == 91
    with pytest.raises(VotcaError, match="empty"):
        grid_points(1, 0.1, 0.5)
