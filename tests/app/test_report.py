"""The report: one page without links to elsewhere, with the numbers and the verdict in it."""

import csv
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from asediff import RDF, DiffSim, LennardJones, PairPotential, Potential, StatePoint, System, Target, lattices
from asediff.app.report import Evidence, curves, deviation_rows, pressure_notes, write_report
from asediff.fitting.result import FitResult
from asediff.lammps.verify import Check, VerifyReport
from asediff.targets.measurement import Measurement

KT = 0.0257


@pytest.fixture(scope="module")
def evidence():
    system = System.from_atoms(lattices.fcc("Ar", mass_density=1.2, cells=4))
    rdf = RDF(r_max=8.0, bins=100, width=0.0)
    r = rdf.centers
    g = torch.where(r < 3.2, 0.0, 1 + 1.5 * torch.exp(-((r - 3.7) ** 2) / 0.08))
    point = StatePoint(system, Target(rdf, g), kT=KT, name="argon at 298 K")

    def measured(shift):
        value = torch.where(g > 0, g + shift, g)
        return Measurement((value,), (torch.full_like(g, 0.004),), 0.001, 1e-5, KT, None)

    result = FitResult(
        potential=PairPotential(LennardJones(0.0104, 3.4), 8.0),
        state_points=[point],
        method=DiffSim(timestep=0.2),
        history=[{"epoch": k, "loss": 1.0 / k} for k in range(1, 30)],
        measurements=[measured(0.01)],
        md_steps=12345,
        wall_seconds=6.7,
        validation_seconds=1.2,
        seed=42,
        stopped="29 epochs done",
        notes=["a <note> & a remark"],
    )
    checks = (Check("force on any atom", 2e-6, 1e-4), Check("energy of any pair", 3e-4, 1e-4))
    verification = VerifyReport(checks, 20, 1234, 1e-9, "cg.table", "real")
    return Evidence(
        title="Argon <test>",
        result=result,
        lammps=[measured(0.02)],
        verification=[verification],
        units="real",
        configuration="seed: 42\n",
        lammps_seconds=3.4,
    )


@pytest.fixture(scope="module")
def page(evidence, tmp_path_factory):
    return write_report(tmp_path_factory.mktemp("report"), evidence)


def test_the_page_needs_nothing_else(page):
    text = page.read_text()
    for reference in re.findall(r'(?:src|href)="([^"]*)"', text):
        assert reference.startswith("data:image/png;base64,")
    assert "http" not in text
    assert text.count("data:image/png") == 3


def test_numbers_versions_seed_and_configuration_are_there(page):
    text = page.read_text()
    for shown in ("29 epochs done", "12,345", "6.7 s", "seed: 42", "torch", "298.2 K", "1,602 ± 16 bar", "+0.8 %"):
        assert shown in text, shown


def test_a_failed_check_makes_the_verdict_fail(page):
    text = page.read_text()
    assert text.count(">FAIL<") == 2  # the verdict and the one check
    assert text.count(">PASS<") == 1


def test_text_from_outside_is_escaped(page):
    text = page.read_text()
    assert "a &lt;note&gt; &amp; a remark" in text
    assert "Argon &lt;test&gt;" in text
    assert "<note>" not in text


def test_figures_and_curves_lie_beside_the_page(page, evidence):
    names = {path.name for path in page.parent.iterdir()}
    assert {"rdf_0_rdf.png", "rdf_0_rdf.csv", "potential.png", "potential_kT.csv", "loss.png"} <= names
    with (page.parent / "rdf_0_rdf.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["r", "target", "asediff", "asediff_error", "LAMMPS", "LAMMPS_error"]
    assert np.allclose([float(row["LAMMPS"]) for row in rows], curves(evidence, 0, 0)["LAMMPS"])


def test_the_mean_deviation_outside_the_core_leaves_empty_bins_out(evidence):
    row = deviation_rows(evidence, 0)[1]
    assert row["run"] == "LAMMPS"
    assert row["inside"] == pytest.approx(0.02)
    # 40 of the 100 bins are empty in both curves
    assert row["mean"] == pytest.approx(0.012)


def test_noise_and_misfit_are_told_apart(evidence, page):
    """0.01 and 0.02 are 2.5 and 5 standard errors of the run; a reference known to 0.03 explains both."""
    own, lammps = deviation_rows(evidence, 0)
    assert own["chi_square"] == pytest.approx(6.25)
    assert lammps["verdict"].startswith("what is left is misfit: mean |dg| 0.0200 where the noise of the run")
    assert "largest at r = 3.24 ... 7.96 Å: +0.020 (+5.0 sigma)" in lammps["verdict"]
    assert "what is left is misfit" in page.read_text()
    point = evidence.result.state_points[0]
    known = replace(point.targets[0], error=torch.full_like(point.targets[0].reference, 0.03))
    result = replace(evidence.result, state_points=[StatePoint(point.system, known, kT=KT, name=point.name)])
    for row in deviation_rows(replace(evidence, result=result), 0):
        assert row["verdict"].startswith("what is left is noise: mean |dg| 0.0")
        assert "noise of run and reference alone gives 0.0241" in row["verdict"]


def test_a_pressure_that_nobody_asked_for_is_explained(evidence, page):
    (note,) = pressure_notes(evidence)
    assert note.startswith(
        "argon at 298 K: the pressure is 1,602 ± 16 bar, and none was asked for. g(r) at one density"
    )
    assert "give the state point its pressure, energy/length³ (1 bar is 6.242e-07 eV/Å³) and fit again" in note
    assert "none was asked for" in page.read_text()
    point = evidence.result.state_points[0]
    asked = StatePoint(point.system, point.targets, kT=KT, name=point.name, pressure=0.001)
    assert pressure_notes(replace(evidence, result=replace(evidence.result, state_points=[asked]))) == []
    assert "bar" not in pressure_notes(replace(evidence, units="lj"))[0]


def test_without_lammps_the_page_says_that_nothing_was_verified(evidence, tmp_path):
    alone = Evidence(title="alone", result=evidence.result, units="lj")
    text = write_report(tmp_path, alone).read_text()
    assert "export not verified" in text
    assert "PASS" not in text
    assert "bar" not in re.sub(r"data:image/png;base64,[^\"]*|<style>.*?</style>", "", text, flags=re.S)


def test_a_potential_without_pair_functions_has_no_curve_and_no_table(evidence, tmp_path):
    class Trap(Potential):
        cutoff = 8.0

        def energy(self, system, neighbors, kT=None):
            return system.sum_by_system(system.positions.square().sum(-1))

    whole = replace(evidence, result=replace(evidence.result, potential=Trap()))
    text = write_report(tmp_path, whole).read_text()
    assert text.count("data:image/png") == 2
    assert "knots" not in text
    names = {path.name for path in tmp_path.iterdir()}
    assert "rdf_0_rdf.png" in names
    assert not any(name.startswith("potential") for name in names)
    with pytest.raises(ValueError, match=r"potential: Trap is not pairwise, and a file of u\(r\) would see"):
        whole.result.curves()
