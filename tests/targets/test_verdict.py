"""Noise or misfit: differences drawn with known errors, and with something added."""

import math

import pytest
import torch

from asediff.observables import RDF
from asediff.targets.curves import read_errors
from asediff.targets.target import Target
from asediff.targets.verdict import judge

RDF_OF_SHELLS = RDF(3.0, 120)
R = RDF_OF_SHELLS.centers
REFERENCE = torch.where(R > 0.9, 1.0 + torch.exp(-8.0 * (R - 0.95)), 0.0)
OUTSIDE = REFERENCE > 0.0
ERROR = 0.01 * OUTSIDE


def drawn(seed: int, added: torch.Tensor | float = 0.0, of_reference: float = 0.0):
    """A verdict on values with normal errors of 0.01, on a reference with such errors of its own."""
    noise = torch.Generator().manual_seed(seed)
    value = REFERENCE + OUTSIDE * (ERROR * torch.randn(len(R), generator=noise, dtype=torch.float64) + added)
    reference = REFERENCE + OUTSIDE * of_reference * torch.randn(len(R), generator=noise, dtype=torch.float64)
    target = Target(RDF_OF_SHELLS, reference.clamp_min(0.0), error=of_reference * OUTSIDE if of_reference else None)
    return judge(target, value, ERROR)


@pytest.mark.parametrize("of_reference", [0.0, 0.01])
def test_normal_errors_are_noise(of_reference):
    for seed in range(5):
        verdict = drawn(seed, of_reference=of_reference)
        # 84 independent values: chi-square per value is 1 +- 0.154, and the limit, made for a fifth as many, 1.73
        assert verdict.noise
        assert verdict.limit == pytest.approx(1.0 + 3.0 * math.sqrt(2.0 / (int(OUTSIDE.sum()) / 5)))
        assert abs(verdict.chi_square - 1.0) < 0.9
        # mean |d| is known to 0.6/sqrt(84) of a standard error
        assert abs(verdict.mean / verdict.expected - 1.0) < 0.5
        assert verdict.of_both == (of_reference > 0.0)
        assert verdict.text("g", "r").startswith("what is left is noise: mean |dg| 0.0")


def test_what_is_added_is_misfit_and_its_place_is_told():
    bump = torch.where((R > 1.2) & (R < 1.5), 0.08, 0.0)
    for seed in range(5):
        verdict = drawn(seed, bump)
        assert not verdict.noise
        assert 1.0 < verdict.begin < 1.25
        assert 1.45 < verdict.end < 1.7
        assert 0.04 < verdict.height < 0.1
        assert verdict.sigmas > 4.0
        assert "largest at r = 1." in verdict.text("g", "r", "σ")
        assert "(the reference states no error)" in verdict.text("g", "r", "σ")


def test_errors_of_the_reference_make_a_difference_noise():
    slope = 0.03 * torch.ones(len(R), dtype=torch.float64)
    value = REFERENCE + OUTSIDE * slope
    alone = judge(Target(RDF_OF_SHELLS, REFERENCE), value, ERROR)
    both = judge(Target(RDF_OF_SHELLS, REFERENCE, error=0.03), value, ERROR)
    assert not alone.noise
    assert both.noise
    assert both.chi_square == pytest.approx(0.9)


def test_without_any_error_there_is_no_verdict():
    target = Target(RDF_OF_SHELLS, REFERENCE)
    assert judge(target, REFERENCE, torch.full_like(R, math.nan)) is None
    assert judge(target, REFERENCE, torch.zeros_like(R)) is None


def test_a_third_column_called_error_is_read(tmp_path):
    path = tmp_path / "g.csv"
    path.write_text("r,g,error\n0.5,0,0.1\n1.0,1,0.2\n")
    assert read_errors(path).tolist() == [0.1, 0.2]
    path.write_text("r,g,count\n0.5,0,7\n1.0,1,9\n")
    assert read_errors(path) is None
    path.write_text("0.5 0 0.1\n1.0 1 0.2\n")
    assert read_errors(path) is None
    for last in ("", ",-0.1", ",nan"):
        path.write_text(f"r,g,error\n0.5,0,0.1\n1.0,1{last}\n")
        with pytest.raises(ValueError, match=r"g\.csv:3: .* has no standard error >= 0 in its third column; give one"):
            read_errors(path)
