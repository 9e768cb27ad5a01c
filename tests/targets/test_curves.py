"""Reading reference curves: what is accepted, and the one line that says what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from asediff.targets.curves import check_reference_range, read_curve

R = np.linspace(0.05, 5.0, 100)
G = np.where(R < 1.0, 0.0, 1.0 + np.exp(-R))


def write(path, rows, header=""):
    path.write_text(header + "".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


def rows(separator=" ", r=R, g=G):
    return [f"{x:.17g}{separator}{y:.17g}" for x, y in zip(r, g, strict=True)]


@pytest.mark.parametrize("separator", [" ", ",", ", ", "\t", ";"])
@pytest.mark.parametrize("header", ["", "r,g\n", "# r g\n", "r_angstrom g_OO error\n# unit: A\n\n"])
def test_two_columns_are_read(tmp_path, separator, header):
    r, g = read_curve(write(tmp_path / "g.txt", rows(separator), header))
    assert np.array_equal(r, R)
    assert np.array_equal(g, G)


def test_further_columns_and_byte_order_mark_are_ignored(tmp_path):
    lines = [line + " 0.1 i" for line in rows()]
    r, _ = read_curve(write(tmp_path / "g.txt", lines, header="\ufeffr g error flag\n"))
    assert np.array_equal(r, R)


def damaged(index, line):
    lines = rows()
    lines[index] = line
    return lines


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (damaged(40, "2.05 abc"), r"g\.txt:41: '2.05 abc' is not two numbers"),
        (damaged(40, "2.05"), r"g\.txt:41: '2.05' is not two numbers"),
        (damaged(40, "2.05 nan"), r"g\.txt:41: r=2.05, g=nan is not finite"),
        (damaged(40, "2.00 1.0"), r"g\.txt:41: r=2 occurs twice"),
        (damaged(40, "1.0 1.0"), r"g\.txt:41: r=1 follows 2; sort"),
        (damaged(40, "2.05 -0.1"), r"g\.txt:41: g=-0.1 at r=2.05 is negative"),
        (damaged(0, "-0.1 0.0"), r"g\.txt:1: r=-0.1 is negative"),
        (rows(g=0 * R), r"g\.txt: g is zero on every line"),
        (rows()[:9], r"g\.txt: 9 points are too few"),
        ([], r"g\.txt: 0 points are too few"),
    ],
)
def test_damaged_files_are_refused_with_file_and_line(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message) as error:
        read_curve(write(tmp_path / "g.txt", lines))
    assert "\n" not in str(error.value)


def test_only_one_header_line_is_accepted(tmp_path):
    with pytest.raises(ValueError, match=r"g\.txt:2: 'more words' is not two numbers"):
        read_curve(write(tmp_path / "g.txt", rows(), header="r g\nmore words\n"))


def test_missing_and_binary_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_curve(tmp_path / "missing.csv")
    (tmp_path / "g.npy").write_bytes(b"\x93NUMPY\xff\xfe\x00")
    with pytest.raises(ValueError, match="not a text file"):
        read_curve(tmp_path / "g.npy")


def test_curve_that_ends_inside_the_cutoff_is_refused():
    check_reference_range(R, G, 5.0)
    with pytest.raises(ValueError, match="reference: ends at r=5, inside 6; lower the cutoff"):
        check_reference_range(R, G, 6.0)
    with pytest.raises(ValueError, match=r"target: is zero up to r=0\.5; check the unit"):
        check_reference_range(R, G, 0.5, name="target")
