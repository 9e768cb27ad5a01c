"""Curves as people really have them: decimal commas, indices, rows, other units, other normalisations."""

import numpy as np
import pytest
from scipy.signal import find_peaks

from asediff.app.config.plausible import check_curve
from asediff.targets.curves import FEWEST_POINTS, check_normalised, first_peak, read_curve

R = np.linspace(0.05, 10.0, 200)
G = np.where(R < 2.5, 0.0, 1.0 + 1.5 * np.exp(-(((R - 2.8) / 0.35) ** 2)))


def with_commas(text):
    return text.replace(".", ",")


def lines(form, r=R, g=G, change=str):
    return "".join(change(form.format(k=k, r=x, g=y)) + "\n" for k, (x, y) in enumerate(zip(r, g, strict=True)))


def refused(tmp_path, text):
    path = tmp_path / "g.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"g\.txt") as error:
        read_curve(path)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("form", ["{r:.4f} {g:.6f}", "{r:.4f}\t{g:.6f}", "{r:.4f};{g:.6f}", "{r:.2e}; {g:.3e}"])
def test_decimal_commas_are_told_by_name_with_a_way_to_convert(tmp_path, form):
    told = refused(tmp_path, lines(form, change=with_commas))
    assert "g.txt:1: " in told
    assert "has decimal commas, but commas separate columns; write points: sed 's/,/./g' g.txt" in told


def test_decimal_commas_between_commas_are_told(tmp_path):
    assert "are decimal commas with commas between" in refused(tmp_path, lines("{r:.4f},{g:.6f}", change=with_commas))


@pytest.mark.parametrize(
    "form", ["{r:.4f},{g:.6f}", "{r:.4f}, {g:.6f}", "{r:.0f},{g:.0f}", "{r:.4f} , {g:.4f},{g:.1f}"]
)
def test_commas_between_columns_are_still_read(tmp_path, form):
    (tmp_path / "g.txt").write_text(lines(form, r=np.arange(1.0, 201.0)), encoding="utf-8")
    r, _ = read_curve(tmp_path / "g.txt")
    assert len(r) == 200


@pytest.mark.parametrize(
    "form", ["{k} {r:.4f} {g:.6f}", "{k},{r:.4f},{g:.6f}", "{k};{r:.4f};{g:.6f};0.1", "  {k}.0 {r:.3f} {g:.3f}"]
)
def test_a_column_that_counts_the_lines_is_told(tmp_path, form):
    told = refused(tmp_path, lines(form))
    assert "the first column counts the lines" in told
    assert "remove the first column" in told


def test_whole_distances_with_errors_are_no_index(tmp_path):
    (tmp_path / "g.txt").write_text(lines("{r:.0f} {g:.4f} 0.01", r=np.arange(200.0)), encoding="utf-8")
    assert len(read_curve(tmp_path / "g.txt")[0]) == 200


@pytest.mark.parametrize("labels", [("", ""), ("r ", "g ")])
def test_a_curve_in_rows_is_told(tmp_path, labels):
    rows = [label + " ".join(f"{x:.4f}" for x in values) for label, values in zip(labels, (R, G), strict=True)]
    assert "write r and g as columns" in refused(tmp_path, "\n".join(rows))


@pytest.mark.parametrize(
    ("factor", "reason"), [(1e10, "its largest g is"), (100.0, "close to 1"), (0.033, "its largest g is")]
)
def test_a_curve_with_another_normalisation_is_refused(tmp_path, factor, reason):
    told = refused(tmp_path, lines("{r:.4f} {g:.8g}", g=factor * G))
    assert reason in told
    assert "so that it goes to 1" in told


def crystal(r):
    """Fcc shells with narrow peaks, as in a cold crystal."""
    shells, numbers = [1.0, 2**0.5, 3**0.5, 2.0], [12, 6, 24, 12]
    peaks = sum(
        n / (4 * np.pi * s**2 * 2**0.5) * np.exp(-(((r - s) / 0.01) ** 2) / 2) / 0.025
        for s, n in zip(shells, numbers, strict=True)
    )
    return peaks + 1e-3


@pytest.mark.parametrize(
    ("r", "g"),
    [
        (R, G),
        (R, G * np.exp(-R / 40.0)),  # a finite box
        (np.linspace(0.01, 2.2, 400), crystal(np.linspace(0.01, 2.2, 400))),
        (R[R < 3.0], G[R < 3.0]),  # ends at the first peak
        (R, np.where(R < 4.0, 40.0 * (R > 2.5), 3.0)),  # clusters in a thin gas
        (R, 0.15 * G),  # unlike pairs of a mixture that demixes
    ],
    ids=["liquid", "finite box", "crystal", "short", "clusters", "demixed"],
)
def test_real_curves_are_accepted(r, g):
    check_normalised(r, g)


@pytest.mark.parametrize(("scale", "units"), [(0.1, "metal"), (0.1, "real"), (100.0, "metal"), (100.0, "lj")])
def test_distances_in_another_unit_are_refused_with_a_remedy(scale, units):
    with pytest.raises(ValueError, match=r"g\.csv: the first peak is at r=.*; give ") as error:
        check_curve(scale * first_peak(R, G), "g.csv", units)
    assert units == "lj" or "1 nm is 10 Å" in str(error.value)


@pytest.mark.parametrize(("peak", "units"), [(2.8, "metal"), (1.4, "real"), (60.0, "real"), (1.1, "lj"), (2.8, "lj")])
def test_sensible_distances_are_accepted(peak, units):
    check_curve(peak, "g.csv", units)


def test_the_first_peak_is_that_of_scipy():
    rng = np.random.default_rng(1)
    for _ in range(300):
        r = np.linspace(0.1, 5.0, int(rng.integers(4, 60)))
        # rounded, so that there are plateaus
        g = np.round(rng.random(len(r)) * rng.choice([1.0, 3.0]), int(rng.integers(0, 4)))
        if g.max() == 0:
            continue
        peaks, _ = find_peaks(g, prominence=0.1 * g.max())
        assert first_peak(r, g) == (r[peaks[0]] if len(peaks) else r[g.argmax()])


def test_files_that_are_none_are_told(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name, reason in (
        ("pipe", "is a pipe"),
        ("folder", "is a folder"),
        ("none", "no such file"),
        ("a\0b", "no such"),
    ):
        with pytest.raises(ValueError, match=f"{reason}.*; give a two-column text file"):
            read_curve(tmp_path / name)
    with pytest.raises(ValueError, match="/dev/null: is a device"):
        read_curve("/dev/null")


def test_a_file_of_gigabytes_is_refused_unread(tmp_path):
    with (tmp_path / "g.txt").open("wb") as file:
        file.truncate(3_000_000_000)
    with pytest.raises(ValueError, match=r"3000\.0 MB are more than the 20 MB"):
        read_curve(tmp_path / "g.txt")


def test_the_fewest_points_stay_what_they_were(tmp_path):
    assert f"give at least {FEWEST_POINTS}" in refused(tmp_path, "1.0 1.0\n2.0 1.0\n")
