"""A small two-component Lennard-Jones run by LAMMPS, set up as a VOTCA user would (reduced units, lengths / 10)."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from sampling import seed

from asediff import votca

LAMMPS = str(Path(sys.executable).with_name("lmp"))
REFERENCE = """units lj
lattice fcc 0.7
region box block 0 4 0 4 0 4
create_box 2 box
create_atoms 1 box
set type 1 type/fraction 2 0.5 8841
mass * 1.0
velocity all create 1.0 87287
pair_style lj/cut 2.5
pair_coeff 1 1 1 1
pair_coeff 1 2 1 0.95
pair_coeff 2 2 1 0.9
timestep 0.005
fix 1 all nve
fix 2 all langevin 1 1 0.5 545454
run 500
write_data start.data nocoeff
dump 1 all custom 50 ref.dump id type x y z
run 1000
"""
COARSE = """units lj
read_data start.data
pair_style table linear 2000
pair_coeff 1 1 AA.table VOTCA
pair_coeff 1 2 AB.table VOTCA
pair_coeff 2 2 BB.table VOTCA
timestep 0.005
velocity all create 1.0 4711
fix 1 all nve
fix 2 all langevin 1 1 0.5 545454
variable p equal press
fix 3 all print 50 "${p}" file lammps.pressure screen no title "P"
run 200
dump 1 all custom 50 traj.dump id type x y z
run 400
"""
INTERACTION = """<non-bonded><name>{name}</name><type1>{type1}</type1><type2>{type2}</type2>
<min>0.05</min><max>0.18</max><step>0.005</step><inverse><target>{name}.rdf</target><p_target>0.5</p_target>{more}
<lammps><table>{name}.table</table><scale>10</scale><table_bins>0.001</table_bins></lammps></inverse></non-bonded>"""
TASKS = (
    """<do_potential>1 0</do_potential><post_update>smooth scale extrapolate</post_update><post_update_options>
    <smooth><iterations>2</iterations></smooth><scale>0.7</scale></post_update_options>
    <post_add>convergence</post_add>""",
    """<post_update>splinesmooth pressure</post_update><post_update_options><splinesmooth><step>0.02</step>
    </splinesmooth><pressure><type>simple</type><do>1 0</do><simple><scale>0.5</scale></simple></pressure>
    </post_update_options><post_add>convergence acc_convergence</post_add><post_add_options><convergence>
    <norm>2</norm><weight>0.3</weight></convergence></post_add_options>""",
    """<post_add>convergence copyback</post_add><post_add_options><convergence><what>dist pot</what>
    <base>tgt cur</base><norm>1 2</norm><weight>1 0.1</weight></convergence>
    <copyback><filelist>BB.dist.new</filelist></copyback></post_add_options>""",
)
GLOBAL = """<inverse><kBT>1.0</kBT><program>lammps</program><method>ibi</method>
<iterations_max>{iterations}</iterations_max>
<convergence_check><type>default</type><limit>0.01</limit></convergence_check><filelist>cg.in start.data</filelist>
<lammps><command>{command}</command><script>cg.in</script><topol>traj.dump</topol><traj>traj.dump</traj>
<pressure_file>lammps.pressure</pressure_file><first_frame>3</first_frame></lammps></inverse>"""


def with_seeds(script: str) -> str:
    """A LAMMPS input with its seeds shifted."""
    return re.sub(r"\b(87287|545454|4711)\b", lambda found: str(seed(int(found[0]))), script)


def make(folder: Path, iterations: int) -> Path:
    """Write targets, LAMMPS input and settings; return the settings file."""
    (folder / "ref.in").write_text(with_seeds(REFERENCE))
    subprocess.run([LAMMPS, "-in", "ref.in"], cwd=folder, stdout=subprocess.DEVNULL, check=True)
    frames = votca.read_frames(folder / "ref.dump")
    entries = ""
    for (name, type1, type2), more in zip((("AA", 1, 1), ("AB", 1, 2), ("BB", 2, 2)), TASKS, strict=True):
        target = votca.rdf(frames, (0, 0.0025, 0.25), type1, type2)
        votca.write_table(folder / f"{name}.rdf", target, digits=10)
        entries += INTERACTION.format(name=name, type1=type1, type2=type2, more=more)
    (folder / "cg.in").write_text(with_seeds(COARSE))
    path = folder / "settings.xml"
    path.write_text(f"<cg>{entries}{GLOBAL.format(iterations=iterations, command=LAMMPS)}</cg>")
    return path
