"""The report of a chain, from made-up curves: no simulation is run."""

import csv
import re
from dataclasses import replace

import made_up
import numpy as np
import pytest
from sampling import seed as shifted
from sampling import sigmas

from asediff.workflow.results import Results
from asediff.workflow.transfer import MEAN_OF_MODULUS, NUMBERS, Transfer, write_transfer


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return tmp_path_factory.mktemp("project")


@pytest.fixture(scope="module")
def stages(project):
    """Two states, two methods and one potential for both states: five potentials, ten validations."""
    return made_up.chain(project, (288, 388), ("ibi", "diffsim"))


@pytest.fixture(scope="module")
def found(stages, project):
    (project / "transfer_0").mkdir()
    return write_transfer(*stages, project / "transfer_0")


@pytest.fixture(scope="module")
def page(found, project):
    return (project / "transfer_0" / "report.html").read_text()


def test_every_potential_is_there_at_every_state(found):
    rows = list(zip(found.arrays["method"], found.arrays["fitted_at_K"], found.arrays["tested_at_K"], strict=True))
    assert rows == [
        *((b"ibi", T, at) for T in (b"288", b"388") for at in (288.0, 388.0)),
        *((b"diffsim", T, at) for T in (b"288", b"388") for at in (288.0, 388.0)),
        *((b"diffsim", b"288+388", at) for at in (288.0, 388.0)),
    ]
    assert found.scalars["validations"] == 10
    assert found.scalars["total_md_steps"] == 5 * 123456 + 2 * 70000 + 10 * 50000


def test_the_matrix_is_written_with_all_digits(found, project):
    with (project / "transfer_0" / "transfer.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["method", "fitted_at_K", "tested_at_K", *NUMBERS]
    for name in NUMBERS:
        np.testing.assert_array_equal([float(row[name]) for row in rows], found.arrays[name])


def test_potentials_do_well_at_home_and_worse_elsewhere(found):
    home = [str(int(T)) in fitted.decode().split("+") for T, fitted in
            zip(found.arrays["tested_at_K"], found.arrays["fitted_at_K"], strict=True)]  # fmt: skip
    home = np.array(home)
    assert found.arrays["D"][home].max() < 0.1 * found.arrays["D"][~home].min()
    # the made-up ripple of 0.09 has a mean of 2/pi of that
    np.testing.assert_allclose(found.arrays["mean_abs_dg"][~home], 0.09 * 2 / np.pi, rtol=0.06)


@pytest.mark.sampled
def test_noise_is_what_perfect_potentials_show(tmp_path):
    """Many runs of a potential without a systematic error: D and mean |dg| are their noise, with their errors."""
    state = made_up.reference(tmp_path, 288, noise=1e-9)
    fit = made_up.fit(tmp_path, "ibi", [state])
    numbers = []
    for k in range(40):
        folder = made_up.validation(tmp_path / f"{k}", fit, state, noise=0.01, seed=shifted(1000 + k))
        transfer = Transfer.of([folder], [fit], [state])
        numbers.append(transfer.all_cells()[0].numbers())
    for name in ("D", "mean_abs_dg"):
        values = np.array([one[name] for one in numbers])
        scatter = values.std(ddof=1)
        assert abs(values.mean() - numbers[0][f"{name}_noise"]) < sigmas(40) * scatter / np.sqrt(40)
        # of 40 values the standard deviation is known to 11 %; mean |dg| of bare noise scatters 0.6 times as much as
        # the error says, which is that of a difference that noise does not fold at zero
        assert 0.4 < scatter / np.mean([one[f"{name}_error"] for one in numbers]) < 1.8
    assert numbers[0]["mean_abs_dg_noise_run"] == pytest.approx(MEAN_OF_MODULUS * 0.01, rel=0.03)  # but in two bins
    assert numbers[0]["mean_abs_dg_noise_reference"] < 1e-8


def test_the_closed_form_of_a_constant_difference(tmp_path):
    """d in every bin: D = 4 pi rho d² times the integral of r²."""
    state = made_up.reference(tmp_path, 288, noise=0.0)
    fit = made_up.fit(tmp_path, "ibi", [state])
    folder = made_up.validation(tmp_path, fit, state, noise=0.0)
    results = Results.load(folder)
    replace(results, arrays={**results.arrays, "g": results.arrays["g_reference"] + 0.02}).write(folder)
    numbers = Transfer.of([folder], [fit], [state]).all_cells()[0].numbers()
    density = 0.602214076 / 18.0154
    assert numbers["D"] == pytest.approx(4 * np.pi * density * 0.02**2 * 7.5**3 / 3, rel=1e-4)
    assert numbers["mean_abs_dg"] == pytest.approx(0.02)
    assert numbers["D_noise"] == numbers["mean_abs_dg_error"] == 0.0


def test_the_page_links_to_other_stages_and_needs_nothing_else(page, project, stages):
    links = [link for link in re.findall(r'(?:src|href)="([^"]*)"', page) if not link.startswith("data:image/png")]
    assert links
    for link in links:
        assert not link.startswith(("/", "http"))
        assert (project / "transfer_0" / link).is_file(), link
    _, fits, references = stages
    for folder in fits:
        assert f'href="../{folder.name}/fit/report.html"' in page
    for folder in references:
        assert f'href="../{folder.name}/rdf.png"' in page


def test_methods_states_noise_and_costs_are_told(page):
    for told in ("IBI", "DiffSim", "DiffSim, all states: u₁ − kT u₂", "288 K", "388 K", "10 independent LAMMPS runs",
                 "Yeh and Hummer", "0.0250 mPa s/η", "123,456", "PASS", "10 iterations"):  # fmt: skip
        assert told in page, told


def test_figures_and_curves_are_beside_the_page(found, project):
    folder = project / "transfer_0"
    for name in ("matrix_D", "matrix_mean_abs_dg", "rdf_288_K", "rdf_388_K", "differences", "potentials", "pressures"):
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    for name in ("rdf_288_K", "potentials"):
        (folder / f"{name}.csv").read_bytes().decode("ascii")
    with (folder / "rdf_288_K.csv").open() as file:
        names = next(csv.reader(file))
    assert names[:4] == ["r", "reference", "reference_error", "IBI"]
    with (folder / "potentials.csv").open() as file:
        names = next(csv.reader(file))
    assert "error IBI 288 K" in names
    assert "u DiffSim, all states: u1 - kT u2 288 + 388 K at 388 K" in names


def test_one_validation_is_enough(tmp_path):
    """A report of a single potential at a single state, of a reference that knows g(r) and the pressure only."""
    state = made_up.reference(tmp_path, 300)
    results = Results.load(state)
    kept = {name: results.scalars[name] for name in ("pressure_bar", "pressure_error_bar", "md_steps", "seconds")}
    replace(results, scalars=kept).write(state)
    fit = made_up.fit(tmp_path, "reweighting", [state])
    folder = made_up.validation(tmp_path, fit, state)
    (tmp_path / "transfer").mkdir()
    found = write_transfer([folder], [fit], [state], tmp_path / "transfer")
    assert found.arrays["D"].shape == (1,)
    assert "Reweighting" in (tmp_path / "transfer" / "report.html").read_text()


def test_states_of_one_temperature_are_told_apart_by_their_density(tmp_path):
    states = [made_up.reference(tmp_path, 300, density=density) for density in (0.9, 1.0)]
    fit = made_up.fit(tmp_path, "ibi", states[:1])
    runs = [made_up.validation(tmp_path, fit, state) for state in states]
    transfer = Transfer.of(runs, [fit], states)
    assert [state.label for state in transfer.states] == ["300 K, 0.9 g/cm³", "300 K, 1 g/cm³"]
    assert len(transfer.all_cells()) == 2
