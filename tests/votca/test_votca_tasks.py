"""One set of tasks: those of IBI, as VOTCA's settings name them and as its files record them."""

import numpy as np
import pytest
import torch
from test_votca_settings import write

from asediff import votca
from asediff.engines import DiluteEngine
from asediff.fitting import (
    IBI,
    Extrapolate,
    Scale,
    SimplePressure,
    Smooth,
    SplineSmooth,
    VirialPressure,
    VotcaUpdate,
    fit,
)
from asediff.lattices import fcc
from asediff.observables import RDF
from asediff.potentials import PairPotential, Shifted, TabulatedRadial
from asediff.system import System
from asediff.tabular.tasks import BAR, Conditions, Shift, apply_tasks
from asediff.targets.target import StatePoint, Target
from asediff.votca import Table, VotcaError, read_settings

GRID = (0.0, 0.05, 1.0)


def table(seed=0):
    x = votca.grid_points(*GRID)
    return Table(x, np.random.default_rng(seed).normal(size=len(x)))


def conditions(**changes):
    x = votca.grid_points(*GRID)
    values = {"pressure": 3.0, "pressure_target": 1.0, "g": np.ones(len(x))} | changes
    return Conditions(1, 2.0, 0.7, **values)


def test_post_update_is_translated_in_its_order(tmp_path):
    inverse = """<p_target>1</p_target>
    <post_update>smooth dummy splinesmooth shift scale extrapolate pressure</post_update>
    <post_update_options><scale>0.7</scale><smooth><iterations>3</iterations></smooth><splinesmooth><step>0.05</step>
    </splinesmooth><pressure><do>1 0</do><simple><scale>0.2</scale><max_A>0.3</max_A></simple></pressure>
    </post_update_options>"""
    (item,) = read_settings(write(tmp_path, inverse)).interactions
    pressure = SimplePressure(0.2, 0.3, (1, 0))
    assert item.tasks == (Smooth(3), Scale(1.0), SplineSmooth(0.05), Shift(), Scale(0.7), Extrapolate(5), pressure)


def test_the_wjk_correction_is_the_virial_correction_in_bar(tmp_path):
    inverse = """<p_target>1</p_target><particle_dens>33</particle_dens><post_update>pressure</post_update>
    <post_update_options><pressure><type>wjk</type><wjk><scale>0.5</scale></wjk></pressure></post_update_options>"""
    edit = ("<min>0.2</min>", "<min>0.0</min>")
    (item,) = read_settings(write(tmp_path, inverse, edit=edit)).interactions
    assert item.tasks == (VirialPressure(0.5, 0.1, (1,), BAR),)
    assert pytest.approx(0.06022, rel=1e-8) == BAR


def test_each_intermediate_update_is_recorded_and_gone_on_with():
    kept = []

    def record(name, update):
        kept.append(name)
        return update if name is None else update.rounded(3)

    result = apply_tasks((Smooth(2), Scale(0.3)), table(), conditions(record=record))
    assert kept == ["dpot.1", None, None, "dpot.new", "dpot.2", "dpot.new", "dpot.3", "dpot.new"]
    smoothed = votca.smooth(table(), 2).rounded(3)
    expected = votca.shift_nonbonded(votca.scale(smoothed, 0.3).rounded(3)).rounded(3)
    np.testing.assert_array_equal(result.y, expected.y)


def test_a_correction_is_recorded_in_its_cycle_alone():
    kept = []
    task = SimplePressure(0.1, cycle=(0, 1, 0))
    for iteration in range(4):
        given = Conditions(iteration, 1.0, 0.7, 3.0, 1.0, table().y, lambda name, ramp: kept.append(name) or ramp)
        changed = task.apply(table(), given).y
        assert (changed != table().y).any() == (iteration == 1)
    assert kept == ["pressure_correction"]


def test_the_virial_correction_refuses_what_it_would_divide_by():
    with pytest.raises(VotcaError, match="density = 0 must be positive"):
        VirialPressure().apply(table(), Conditions(0, 1.0, 0.0, 3.0, 1.0, table().y))
    with pytest.raises(VotcaError, match="integral"):
        VirialPressure().apply(table(), conditions(g=np.zeros(len(table()))))


def test_akima_does_not_flatten_a_well_beside_a_steep_core():
    x = np.arange(30) * 0.1
    well = np.sin(3.0 * x)
    steep = np.where(x < 0.25, 1e14, well)
    fine = np.linspace(1.0, 2.8, 57)
    expected = votca.resample(Table(x, well), fine, digits=None).y
    np.testing.assert_allclose(votca.resample(Table(x, steep), fine, digits=None).y, expected, rtol=0, atol=1e-12)


def test_a_settings_file_and_a_fit_make_the_same_potential(tmp_path):
    """The same target, start and tasks, once through VOTCA's files and once through `fit`: two updates each."""
    grid, kT = (0.32, 0.02, 1.0), 1.5
    x = votca.grid_points(*grid)
    wanted, start = (e * ((0.35 / x) ** 12 - (0.35 / x) ** 6) for e in (4.0, 2.0))
    votca.write_table(tmp_path / "A.rdf", Table(x, np.exp(-(wanted - wanted[-1]) / kT)), digits=10)
    votca.write_table(tmp_path / "A.pot.in", Table(x, start - start[-1]))
    (tmp_path / "settings.xml").write_text(
        f"""<cg><non-bonded><name>A</name><type1>1</type1><type2>1</type2><min>{grid[0]}</min><max>{grid[2]}</max>
        <step>{grid[1]}</step><inverse><target>A.rdf</target><post_update>scale smooth splinesmooth extrapolate
        </post_update><post_update_options><scale>0.7</scale><smooth><iterations>2</iterations></smooth><splinesmooth>
        <step>0.1</step></splinesmooth></post_update_options></inverse></non-bonded><inverse><kBT>{kT}</kBT>
        <program>lammps</program><method>ibi</method><iterations_max>2</iterations_max></inverse></cg>"""
    )
    settings = read_settings(tmp_path / "settings.xml")

    def dilute(folder, tables):
        return {name: Table(table.x, np.exp(-table.y / kT)) for name, table in tables.items()}

    files = votca.run_ibi(settings, simulate=dilute).potentials["A"]
    observable = RDF(grid[2] + grid[1] / 2, len(x), r_min=grid[0] - grid[1] / 2, width=0)
    system = System.from_atoms(fcc("Ar", density=0.05, cells=2, mass=1.0))
    target = votca.read_table(tmp_path / "A.rdf").y
    point = StatePoint(system, Target(observable, torch.from_numpy(target)), kT=kT)
    method = IBI(DiluteEngine(), 2, update=VotcaUpdate(), tasks=settings.interactions[0].tasks)
    given = PairPotential(TabulatedRadial(x, start - start[-1]), grid[2], truncation=Shifted())
    fitted = fit(given, point, method, validation=None, progress=False).potential
    assert np.abs(files.y - (start - start[-1])).max() > 1.0
    np.testing.assert_allclose(fitted.radial(None).values.detach().numpy(), files.y, rtol=1e-7, atol=1e-7)
