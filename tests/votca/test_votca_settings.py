import subprocess
import sys

import pytest

from asediff.votca import VotcaError, read_settings

INTERACTION = """
<non-bonded>
  <name>CG-CG</name><type1>CG</type1><type2>CG</type2>
  <min>0.2</min><max>0.9</max><step>0.01</step>
  <inverse>
    <target>CG-CG.dist.tgt</target>
    {inverse}
    <lammps><table>CG.table</table><scale>10</scale><y_scale>0.239006</y_scale></lammps>
  </inverse>
</non-bonded>"""
GLOBAL = """
<inverse>
  <kBT>2.49435</kBT><program>lammps</program><method>ibi</method><iterations_max>5</iterations_max>
  {options}
</inverse>"""


def write(folder, inverse="", options="", edit=("", "")):
    text = "<cg>" + INTERACTION.format(inverse=inverse) + GLOBAL.format(options=options) + "</cg>"
    path = folder / "settings.xml"
    path.write_text(text.replace(*edit) if edit[0] else text)
    return path


def test_all_supported_options_are_read(tmp_path):
    inverse = """
    <do_potential>1 0 0</do_potential><p_target>1.0</p_target><particle_dens>33.4</particle_dens>
    <post_update>smooth splinesmooth scale extrapolate pressure</post_update>
    <post_update_options>
      <scale>0.7</scale><smooth><iterations>3</iterations></smooth><splinesmooth><step>0.05</step></splinesmooth>
      <extrapolate><points>4</points></extrapolate>
      <pressure><type>simple</type><do>1 0</do><simple><scale>0.0003</scale><max_A>0.2</max_A></simple></pressure>
    </post_update_options>
    <post_add>convergence acc_convergence overwrite</post_add>
    <post_add_options>
      <convergence><what>dist pot</what><base>tgt cur</base><norm>1 2</norm><weight>1 0.5</weight></convergence>
      <overwrite><do>0 1</do></overwrite>
    </post_add_options>"""
    options = """
    <initial_configuration>laststep</initial_configuration><dist_min>1e-6</dist_min><filelist>a.in b.data</filelist>
    <cleanlist>*.tmp</cleanlist><map>water.xml</map><scriptpath></scriptpath>
    <convergence_check><type>default</type><limit>0.1</limit></convergence_check>
    <simulation><tasks>4</tasks></simulation><log_file>my.log</log_file>
    <lammps><command>mpirun -np 2 lmp</command><script>a.in</script><opts>-in ${script} -v x 1</opts>
      <conf>c.data</conf><conf_out>o.data</conf_out><topol>t.dump</topol><traj>t.dump</traj>
      <first_frame>10</first_frame><pressure_file>p.out</pressure_file></lammps>"""
    settings = read_settings(write(tmp_path, inverse, options))
    item = settings.interaction("CG-CG")
    assert item.grid == (0.2, 0.01, 0.9)
    assert item.post_update == ("smooth", "splinesmooth", "scale", "extrapolate", "pressure")
    assert (item.do_potential, item.pressure.do, item.overwrite_do) == ((1, 0, 0), (1, 0), (0, 1))
    assert (item.scale, item.smooth_iterations, item.splinesmooth_step, item.extrapolate_points) == (0.7, 3, 0.05, 4)
    assert (item.pressure.scale, item.pressure.max_A, item.p_target) == (0.0003, 0.2, 1.0)
    assert (item.convergence.what, item.convergence.norm) == (("dist", "pot"), (1.0, 2.0))
    assert (item.lammps.table, item.lammps.scale, item.lammps.y_scale) == ("CG.table", 10.0, 0.239006)
    assert (settings.kBT, settings.iterations_max, settings.dist_min) == (2.49435, 5, 1e-6)
    assert (settings.filelist, settings.map, settings.log_file) == (("a.in", "b.data"), ("water.xml",), "my.log")
    assert (settings.convergence_check, settings.convergence_limit) == ("default", 0.1)
    assert (settings.lammps.first_frame, settings.lammps.command) == (10, "mpirun -np 2 lmp")


def test_defaults_are_votcas(tmp_path):
    settings = read_settings(write(tmp_path))
    item = settings.interactions[0]
    assert (item.do_potential, item.scale, item.smooth_iterations, item.extrapolate_points) == ((1,), 1.0, 1, 5)
    assert (item.pressure.max_A, item.convergence.norm, item.lammps.table_begin) == (0.1, (1.0,), None)
    assert (settings.dist_min, settings.convergence_check, settings.lammps.command) == (1e-10, "none", "lmp")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"edit": ("<kBT>2.49435</kBT>", "")}, ["cg.inverse.kBT", "is missing"]),
        ({"edit": ("<type2>CG</type2>", "")}, ["cg.non-bonded[CG-CG].type2", "is missing"]),
        ({"edit": ("<target>CG-CG.dist.tgt</target>", "")}, ["inverse.target", "is missing"]),
        ({"edit": ("lammps</program>", "gromacs</program>")}, ["cg.inverse.program", "gromacs"]),
        ({"edit": ("<program>lammps</program>", "")}, ["cg.inverse.program", "missing"]),
        ({"edit": ("ibi</method>", "imc</method>")}, ["cg.inverse.method", "imc", "use ibi"]),
        ({"edit": ("2.49435", "warm")}, ["cg.inverse.kBT", "'warm' is not a number"]),
        ({"edit": ("<step>0.01</step>", "<step>1</step>")}, ["CG-CG", "is no grid"]),
        ({"edit": ("</cg>", "<bonded><name>b</name></bonded></cg>")}, ["cg.bonded", "not supported"]),
        ({"edit": ("</cg>", "")}, ["settings.xml", "not well-formed"]),
        ({"options": "<itrations_max>3</itrations_max>"}, ["cg.inverse.itrations_max", "is unknown to asediff"]),
        ({"options": "<kBT>2</kBT>"}, ["cg.inverse.kBT", "twice"]),
        ({"options": "<gromacs><mdp>a</mdp></gromacs>"}, ["cg.inverse.gromacs.mdp", "not supported"]),
        ({"options": "<scriptpath>$PWD</scriptpath>"}, ["cg.inverse.scriptpath", "not run"]),
        ({"options": "<lammps><equi_time>20</equi_time></lammps>"}, ["lammps.equi_time", "first_frame"]),
        ({"options": "<convergence_check><type>default</type></convergence_check>"}, ["convergence", "post_add"]),
        ({"inverse": "<imc><group>all</group></imc>"}, ["inverse.imc.group", "not supported"]),
        ({"inverse": "<post_update>kbibi</post_update>"}, ["inverse.post_update", "'kbibi' is not supported"]),
        ({"inverse": "<post_add>average</post_add>"}, ["inverse.post_add", "'average' is not supported"]),
        ({"inverse": "<post_add>overwrite convergence</post_add>"}, ["overwrite must be the last"]),
        ({"inverse": "<post_update>splinesmooth</post_update>"}, ["splinesmooth.step", "missing"]),
        ({"inverse": "<post_update>pressure</post_update>"}, ["p_target", "missing"]),
        ({"inverse": "<do_potential>1 2</do_potential>"}, ["do_potential", "'1 2'"]),
        (
            {"inverse": "<post_update_options><lj><c6>1</c6></lj></post_update_options>"},
            ["CG-CG", "post_update_options.lj.c6", "not available"],
        ),
    ],
)
def test_what_is_wrong_is_named(tmp_path, change, words):
    with pytest.raises(VotcaError) as caught:
        read_settings(write(tmp_path, **change))
    message = str(caught.value)
    assert all(word in message for word in ["settings.xml", *words]), message
    assert "\n" not in message


def test_the_wjk_correction_needs_density_and_a_grid_from_zero(tmp_path):
    inverse = """<p_target>1</p_target><post_update>pressure</post_update>
    <post_update_options><pressure><type>wjk</type></pressure></post_update_options>"""
    with pytest.raises(VotcaError, match="particle_dens is missing"):
        read_settings(write(tmp_path, inverse))
    with pytest.raises(VotcaError, match="wrong distances unless min = 0"):
        read_settings(write(tmp_path, inverse + "<particle_dens>33</particle_dens>"))


def test_a_file_that_is_no_settings_file_is_refused(tmp_path):
    (tmp_path / "a.xml").write_text("<cg_molecule/>")
    with pytest.raises(VotcaError, match="not 'cg'"):
        read_settings(tmp_path / "a.xml")
    with pytest.raises(VotcaError, match="no such file"):
        read_settings(tmp_path / "b.xml")


def test_a_file_is_read_and_refused_without_torch_and_numba(tmp_path):
    path = write(tmp_path, edit=("ibi</method>", "imc</method>"))
    code = f"""import sys
from asediff.votca import VotcaError, run_ibi
try:
    run_ibi({str(path)!r})
except VotcaError:
    assert not {{"torch", "numba"}} & set(sys.modules)
else:
    raise SystemExit("not refused")"""
    subprocess.run([sys.executable, "-c", code], check=True)
