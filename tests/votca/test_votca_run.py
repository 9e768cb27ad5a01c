import numpy as np
import pytest
from ase import Atoms

from asediff import votca
from asediff.votca import Table, VotcaError, read_settings, read_table, run_ibi, write_table

GRID = (0.0, 0.05, 1.0)
KT = 1.5


def lennard_jones(epsilon=1.0, sigma=0.4):
    x = votca.grid_points(*GRID)
    s = (sigma / np.maximum(x, 0.25)) ** 6
    u = 4 * epsilon * (s * s - s)
    return Table(x, u - u[-1])


def dilute(folder, tables):
    """g = exp(-u/kT), for which one update is exact."""
    return {name: Table(table.x, np.exp(-table.y / KT)) for name, table in tables.items()}


def setup(folder, names=("A-A",), inverse="", options="", start=True):
    entries = ""
    for k, name in enumerate(names):
        target = lennard_jones(1 + 0.3 * k)
        write_table(folder / f"{name}.rdf", Table(target.x, np.exp(-target.y / KT)), digits=10)
        if start:
            write_table(folder / f"{name}.pot.in", Table(target.x, 3 * (1 - target.x)))
        entries += f"""<non-bonded><name>{name}</name><type1>1</type1><type2>1</type2>
        <min>0.0</min><max>1.0</max><step>0.05</step><inverse><target>{name}.rdf</target>{inverse}</inverse>
        </non-bonded>"""
    (folder / "settings.xml").write_text(
        f"""<cg>{entries}<inverse><kBT>{KT}</kBT><program>lammps</program><method>ibi</method>
        <iterations_max>2</iterations_max>{options}</inverse></cg>"""
    )
    return folder / "settings.xml"


def test_one_iteration_is_exact_at_infinite_dilution(tmp_path):
    settings = setup(tmp_path, inverse="<post_add>convergence</post_add>")
    result = run_ibi(settings, simulate=dilute)
    assert [step.name for step in result.steps] == ["step_001", "step_002"]
    assert result.convergence["A-A"][0] > 1
    assert result.convergence["A-A"][1] < 0.01  # what is left lies in the core, where the target is not sampled
    truth = lennard_jones()
    sampled = truth.x > 0.3
    np.testing.assert_allclose(result.potentials["A-A"].y[sampled], truth.y[sampled], atol=1e-8)


def test_files_are_votcas(tmp_path):
    inverse = """<post_update>smooth scale</post_update><post_add>convergence acc_convergence</post_add>
    <lammps><table>a.table</table><table_begin>0.1</table_begin></lammps>"""
    run_ibi(setup(tmp_path, inverse=inverse, options="<filelist>A-A.pot.in</filelist>"), simulate=dilute)
    names = {path.name for path in (tmp_path / "step_002").iterdir()}
    wanted = "dist.new dist.tgt dpot.pure_ibi dpot.new dpot.1 dpot.2 dpot.3 pot.cur pot.new pot.1 pot.2 pot.3 conv"
    assert names >= {f"A-A.{end}" for end in [*wanted.split(), "aconv", "dist.conv"]}
    assert names >= {"a.table", "done", "A-A.pot.in"}
    assert (tmp_path / "done").exists()
    assert len((tmp_path / "step_002" / "A-A.aconv").read_text().splitlines()) == 2
    cur, new = (read_table(tmp_path / f"step_00{k}" / f"A-A.pot.{end}") for k, end in ((2, "cur"), (1, "new")))
    assert (cur.y == new.y).all()
    assert new.y[-1] == 0


def test_starts_are_boltzmann_inverted_without_a_given_potential(tmp_path):
    settings = read_settings(setup(tmp_path, start=False))
    result = run_ibi(settings, tmp_path, dilute, iterations=1)
    start = read_table(tmp_path / "step_000" / "A-A.pot.new")
    expected = votca.initial_potential(read_table(tmp_path / "A-A.rdf"), KT, grid=GRID)
    np.testing.assert_allclose(start.y, expected.y, rtol=1e-14)
    assert len(result.steps) == 1


def test_a_run_goes_on_after_the_last_complete_step(tmp_path):
    settings = setup(tmp_path)
    called = []

    def failing(folder, tables):
        called.append(folder.name)
        if folder.name == "step_002" and len(called) == 2:
            raise RuntimeError("node lost")
        return dilute(folder, tables)

    with pytest.raises(RuntimeError, match="node lost"):
        run_ibi(settings, simulate=failing)
    kept = (tmp_path / "step_001" / "A-A.pot.new").read_text()
    run_ibi(settings, simulate=failing)
    assert called == ["step_001", "step_002", "step_002"]
    assert (tmp_path / "step_001" / "A-A.pot.new").read_text() == kept
    assert (tmp_path / "step_002.incomplete").is_dir()
    result = run_ibi(settings, simulate=failing, iterations=3)
    assert called[3:] == ["step_003"]
    assert len(result.steps) == 3


def test_do_potential_takes_turns(tmp_path):
    result = run_ibi(setup(tmp_path, inverse="<do_potential>0 1</do_potential>"), simulate=dilute)
    first, second = (read_table(step / "A-A.dpot.new") for step in result.steps)
    assert (first.y == 0).all()
    assert np.abs(second.y).max() > 1


def test_pressure_is_corrected_in_its_cycle(tmp_path):
    inverse = """<do_potential>0</do_potential><p_target>1</p_target><post_update>pressure</post_update>
    <post_update_options><pressure><do>1 0</do><simple><scale>0.1</scale></simple></pressure></post_update_options>"""
    settings = setup(tmp_path, inverse=inverse)
    with pytest.raises(VotcaError, match="let simulate return"):
        run_ibi(settings, simulate=dilute)
    result = run_ibi(settings, simulate=lambda folder, tables: (dilute(folder, tables), 4.0))
    first, second = (read_table(step / "A-A.dpot.new") for step in result.steps)
    np.testing.assert_allclose(first.y, -0.1 * KT * 0.3 * (1 - first.x), atol=1e-10)
    assert (second.y == 0).all()
    assert (result.steps[0] / "A-A.pressure").read_text() == "Pressure=4.0000000000000000\n"


def test_overwrite_copies_a_potential_to_the_others(tmp_path):
    settings = setup(tmp_path, names=("A-A", "B-B"))
    text = settings.read_text().replace(
        "<target>B-B.rdf</target>", "<target>B-B.rdf</target><post_add>overwrite</post_add>"
    )
    settings.write_text(text)
    result = run_ibi(settings, simulate=dilute, iterations=1)
    assert (result.potentials["A-A"].y == result.potentials["B-B"].y).all()


def test_the_convergence_check_ends_a_run(tmp_path):
    options = "<convergence_check><type>default</type><limit>0.01</limit></convergence_check>"
    settings = setup(tmp_path, inverse="<post_add>convergence</post_add>", options=options)
    result = run_ibi(settings, simulate=dilute, iterations=9)
    assert result.converged
    assert len(result.steps) == 2
    assert run_ibi(settings, simulate=dilute, iterations=9).converged


def test_frames_are_measured_and_mapped(tmp_path):
    settings = setup(tmp_path)
    rng = np.random.default_rng(0)
    frames = [Atoms("H50", positions=rng.random((50, 3)) * 2.5, cell=[2.5] * 3, pbc=True) for _ in range(4)]
    result = run_ibi(settings, simulate=lambda folder, tables: frames, iterations=1)
    measured = read_table(result.steps[0] / "A-A.dist.new")
    np.testing.assert_allclose(measured.y, votca.rdf(frames, GRID).y, rtol=1e-9)


def test_what_is_missing_is_said_before_anything_runs(tmp_path):
    settings = setup(tmp_path, options="<filelist>in.lmp</filelist>")
    with pytest.raises(VotcaError, match=r"file 'in\.lmp' is not in"):
        run_ibi(settings, simulate=dilute)
    with pytest.raises(VotcaError, match=r"cg\.inverse\.lammps\.traj is missing"):
        run_ibi(settings)
    assert not (tmp_path / "step_000").exists()


def test_an_empty_target_is_named_with_its_interaction(tmp_path):
    settings = setup(tmp_path, start=False)
    table = read_table(tmp_path / "A-A.rdf")
    write_table(tmp_path / "A-A.rdf", table.replace(y=0 * table.y))
    with pytest.raises(VotcaError, match=r"A-A: target: .*all-zero histogram"):
        run_ibi(settings, simulate=dilute)


def test_lammps_refuses_a_table_that_begins_at_zero(tmp_path):
    inverse = "<lammps><table>a.table</table></lammps>"
    options = "<lammps><script>a.in</script><traj>t.dump</traj></lammps>"
    with pytest.raises(VotcaError, match="table_begin: the table would begin at r = 0"):
        run_ibi(setup(tmp_path, inverse=inverse, options=options))
