"""What cannot be run is refused in one line with every reason, the method first; broken files in one line too."""

import re
import stat

import pytest

from asediff.cli import main
from asediff.votca import VotcaError, read_settings, run_ibi

PAIR = """<non-bonded><name>{name}</name><type1>A</type1><type2>B</type2>
<min>0.2</min><max>0.9</max><step>0.01</step><inverse><target>{name}.dist.tgt</target>{more}</inverse></non-bonded>"""
GLOBAL = """<inverse><kBT>2.5</kBT><program>{program}</program><method>{method}</method>
<iterations_max>5</iterations_max>{more}</inverse>"""
LAMMPS = "<lammps><script>a.in</script><traj>t.dump</traj></lammps>"
TABLE = "<lammps><table>A.table</table></lammps>"


def settings(folder, pairs=("A-A",), pair="", program="lammps", method="ibi", more="", beside=""):
    entries = "".join(PAIR.format(name=name, more=pair) for name in pairs)
    path = folder / "settings.xml"
    path.write_text(f"<cg>{entries}{beside}{GLOBAL.format(program=program, method=method, more=more)}</cg>")
    return path


def refused(path, capsys):
    """The one line of `asediff votca`, without the name of the program."""
    with pytest.raises(SystemExit) as stop:
        main(["votca", str(path)])
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.count("\n") == 1
    assert error.startswith("asediff: error: ")
    return error.removeprefix("asediff: error: ").strip()


def reasons(line):
    """The numbered reasons of a line."""
    head, *rest = re.split(r"\(\d+\) ", line)
    assert head == f"settings.xml: {len(rest)} reasons: "
    return [reason.removesuffix("; ") for reason in rest]


def test_every_reason_is_listed_at_once_and_the_method_first(tmp_path, capsys):
    more = """<imc><matlab><bin>octave</bin></matlab></imc><gromacs><equi_time>20</equi_time><mdp>a.mdp</mdp></gromacs>
    <colour>red</colour><scriptpath>$PWD</scriptpath><filelist>grompp.mdp topol.top</filelist>
    <dist_min>low</dist_min>"""
    pair = """<imc><group>all</group></imc><post_update>kbibi lj smooth</post_update><do_potential>2</do_potential>
    <post_update_options><lj><c6>1</c6></lj></post_update_options>"""
    beside = "<bonded><name>bond</name><min>0</min></bonded><bonded><name>angle</name></bonded><extra><a>1</a></extra>"
    path = settings(tmp_path, ("A-A", "A-B"), pair, "gromacs", "imc", more, beside)
    (tmp_path / "A-A.dist.tgt").write_text("")
    path.write_text(path.read_text().replace("<kBT>2.5</kBT>", "").replace("<type2>B</type2>", "", 1))
    both = "cg.non-bonded[A-A, A-B].inverse"
    assert reasons(refused(path, capsys)) == [
        "cg.inverse.method = 'imc' is not supported; use ibi",
        "cg.inverse.program = 'gromacs' is not supported; use lammps",
        "cg.bonded[bond, angle] are not supported: bonded interactions; only pair interactions are",
        "cg.extra is not a known section; check the spelling or remove",
        f"{both}.post_update = 'kbibi' | 'lj' are not supported; use scale, smooth, splinesmooth, extrapolate, "
        "pressure, shift, dummy",
        f"{both}.imc.group = 'all', cg.inverse.imc.matlab.bin = 'octave' are not supported: "
        "for a method other than ibi",
        f"{both}.post_update_options.lj.c6 = '1' are not supported: for a task that is not available",
        "cg.inverse.gromacs.{equi_time = '20', mdp = 'a.mdp'} are not supported: for a program other than lammps",
        "cg.inverse.colour = 'red' is unknown to asediff; check the spelling or remove",
        "cg.inverse.scriptpath = '$PWD' is not supported: user scripts are not run; remove",
        f"{both}.do_potential = '2' are not a list of 0 (skip) and 1 (do)",
        "cg.inverse.dist_min = 'low' is not a number; give a finite one",
        "cg.non-bonded[A-A].type2, cg.inverse.kBT are missing; give a value",
        f"file 'grompp.mdp', file 'topol.top', file 'A-B.dist.tgt' are not in {tmp_path}; add or correct the settings",
    ]


@pytest.mark.parametrize("method", ["imc", "re", "optimizer", "iie"])
def test_another_method_is_the_first_reason(tmp_path, capsys, method):
    path = settings(tmp_path, method=method, program="gromacs", beside="<bonded><name>b</name></bonded>")
    first, second, third = reasons(refused(path, capsys))[:3]
    assert first == f"cg.inverse.method = '{method}' is not supported; use ibi"
    assert second == "cg.inverse.program = 'gromacs' is not supported; use lammps"
    assert third.startswith("cg.bonded[b] is not supported")


@pytest.mark.parametrize("program", ["gromacs", "espresso", "espressopp", "hoomd-blue", "dlpoly"])
def test_options_of_another_program_are_one_reason(tmp_path, capsys, program):
    pair = f"<{program}><table>x.tab</table></{program}>"
    path = settings(tmp_path, program=program, pair=pair, more=f"<{program}><table_end>2</table_end></{program}>")
    (tmp_path / "A-A.dist.tgt").write_text("")
    assert reasons(refused(path, capsys)) == [
        f"cg.inverse.program = '{program}' is not supported; use lammps",
        f"cg.non-bonded[A-A].inverse.{program}.table = 'x.tab', cg.inverse.{program}.table_end = '2' are not "
        "supported: for a program other than lammps",
    ]


def test_force_matching_is_named_as_the_method(tmp_path, capsys):
    path = tmp_path / "settings.xml"
    path.write_text(
        """<cg><fmatch><constrainedLS>true</constrainedLS></fmatch><non-bonded><name>A-A</name><type1>A</type1>
        <type2>A</type2><threebody>yes</threebody><fmatch><min>0.2</min></fmatch></non-bonded></cg>"""
    )
    listed = reasons(refused(path, capsys))
    assert listed[0] == "cg.fmatch is not supported: force matching; only the method ibi is"
    assert "cg.non-bonded[A-A].threebody = 'yes' is not supported: only pairs are" in listed
    assert (
        "cg.non-bonded[A-A].{min, max, step}, cg.non-bonded[A-A].inverse.target, "
        "cg.inverse.{kBT, iterations_max} are missing; give a value"
    ) in listed


def test_what_lammps_needs_is_listed_with_the_rest(tmp_path, capsys):
    pair = "<p_target>1</p_target><post_update>pressure</post_update>"
    listed = reasons(refused(settings(tmp_path, pair=pair, more="<map>w.xml</map>"), capsys))
    for words in ("lammps.traj is missing", "lammps.script is missing", "lammps.table is missing"):
        assert any(words in reason for reason in listed), words
    assert any("pressure.simple.scale is missing; the task pressure needs a value" in reason for reason in listed)
    assert "cg.inverse.lammps.pressure_file is missing; the task pressure needs it" in listed
    assert listed[-1].startswith("file 'A-A.dist.tgt', file 'w.xml' are not in ")


def test_a_script_that_no_step_would_have_is_refused(tmp_path, capsys):
    (tmp_path / "A-A.dist.tgt").write_text("")
    (tmp_path / "a.in").write_text("")
    path = settings(tmp_path, pair=TABLE, more=LAMMPS)
    assert "cg.inverse.lammps.script = 'a.in' is not among the files that each step gets" in refused(path, capsys)
    path = settings(tmp_path, pair=TABLE, more=LAMMPS + "<filelist>a.in</filelist>")
    assert "A-A.dist.tgt: no rows" in refused(path, capsys)
    path = settings(tmp_path, pair=TABLE, more=LAMMPS.replace("a.in", "../a.in"))
    assert "A-A.dist.tgt: no rows" in refused(path, capsys)


def test_a_mapping_is_checked_with_the_settings(tmp_path, capsys):
    (tmp_path / "m.xml").write_text("<cg_molecule><name>W</name><ident>W</ident></cg_molecule>")
    line = refused(settings(tmp_path, program="gromacs", more="<map>m.xml</map>"), capsys)
    assert reasons(line)[-1] == "m.xml: cg_molecule.topology.cg_beads has 0 beads; one bead per molecule is supported"


def test_a_long_list_is_counted(tmp_path, capsys):
    many = "".join(f"<option{k}>{'v' * 500}</option{k}>" for k in range(1000))
    line = refused(settings(tmp_path, more=many), capsys)
    assert "option19 = '" in line
    assert "option20" not in line
    assert "and 980 more} are unknown to asediff" in line
    assert len(line) < 3000


def test_the_task_plot_is_passed_over_and_said(tmp_path):
    pair = """<post_add>plot dummy</post_add><post_add_options><plot><script>all.gp</script><kill>gnuplot_x11</kill>
    <gnuplot_opts>-persist</gnuplot_opts></plot></post_add_options>"""
    results = []
    for name, tasks in (("plotting", pair), ("quiet", pair.replace("plot dummy", "dummy dummy"))):
        (tmp_path / name).mkdir()
        path = settings(tmp_path / name, pair=tasks)
        (path.parent / "A-A.dist.tgt").write_text("0.2 0 i\n0.4 2 i\n0.6 1.2 i\n0.8 0.9 i\n1.0 1 i\n")
        results.append(run_ibi(path, simulate=unstructured, iterations=1))
    assert [result.notes for result in results] == [("the task plot of A-A is passed over: nothing is drawn",), ()]
    ours, theirs = ({file.name: file.read_bytes() for file in result.steps[0].iterdir()} for result in results)
    assert ours == theirs


def unstructured(folder, tables):
    """g = 1 everywhere."""
    return {name: table.replace(y=0 * table.y + 1) for name, table in tables.items()}


LAUGHS = "<!DOCTYPE cg [<!ENTITY a0 'ha'>" + "".join(f"<!ENTITY a{k} '{f'&a{k - 1};' * 10}'>" for k in range(1, 12))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not well-formed XML (no element found"),
        (b"   \n", "not well-formed XML (no element found"),
        (b"kBT = 2.5\n", "not well-formed XML (syntax error: line 1"),
        (b"\x00\x01\x02\xff" * 50, "not well-formed XML"),
        (b"<cg><inverse></cg>", "not well-formed XML (mismatched tag"),
        (b"<cg>&nothing;</cg>", "not well-formed XML (undefined entity"),
        (b"<?xml version='1.0' encoding='no-such-code'?><cg/>", "not supported"),
        (b"<?xml version='1.0' encoding='utf-7'?><cg/>", "not supported"),
        ("<cg>\xe4</cg>".encode("latin-1"), "not well-formed XML"),
        (f"{LAUGHS}]><cg><inverse><kBT>&a11;</kBT></inverse></cg>".encode(), "<!DOCTYPE cg> is not supported"),
        (b"<!DOCTYPE cg SYSTEM 'file:///etc/hostname'><cg/>", "<!DOCTYPE cg> is not supported"),
        (b"<cg>" + b"<a>" * 20_000 + b"</a>" * 20_000 + b"</cg>", "more than 32 levels deep"),
        (b"<cg>" + b" " * (1 << 20) + b"</cg>", "larger than 1048576 bytes"),
        (b"<html/>", "the root element is 'html', not 'cg'"),
        (b"<cg/>", "cg.non-bonded is missing; give at least one interaction"),
        (b"<cg><non-bonded/></cg>", "cg.non-bonded[#1].{name, type1, type2, min, max, step}"),
    ],
)
def test_a_file_that_is_no_settings_file_is_one_line(tmp_path, capsys, content, words):
    (tmp_path / "settings.xml").write_bytes(content)
    line = refused(tmp_path / "settings.xml", capsys)
    assert words in line
    assert len(line) < 1500


def test_a_folder_or_a_missing_or_forbidden_file_is_one_line(tmp_path, capsys):
    assert refused(tmp_path, capsys) == f"{tmp_path}: is a folder; give VOTCA's settings file"
    missing = tmp_path / "none.xml"
    assert refused(missing, capsys) == f"{missing}: no such file; give VOTCA's settings file"
    path = settings(tmp_path)
    path.chmod(0)
    try:
        path.open().close()
    except PermissionError:  # the superuser may read it
        assert "cannot be read (Permission denied)" in refused(path, capsys)
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (("<kBT>2.5", "<kBT>nan"), "cg.inverse.kBT = 'nan' is not a number; give a finite one"),
        (("<kBT>2.5", "<kBT>1e999"), "cg.inverse.kBT = '1e999' is not a number"),
        (("<kBT>2.5", "<kBT>2_5"), "cg.inverse.kBT = '2_5' is not a number"),
        (("<kBT>2.5", "<kBT>-2.5"), "cg.inverse.kBT = '-2.5' is too small; give more than 0"),
        (("_max>5", "_max>-5"), "cg.inverse.iterations_max = '-5' is too small; give at least 0"),
        (("_max>5", "_max>5.0"), "cg.inverse.iterations_max = '5.0' is not a whole number"),
        (("<step>0.01", "<step>-0.01"), "cg.non-bonded[A-A].min, max, step = '0.2, 0.9, -0.01' is no grid"),
        (("<step>0.01", "<step>nan"), "cg.non-bonded[A-A].step = 'nan' is not a number"),
        (("<step>0.01", "<step>1e-320"), "is a grid of more than 1000000 rows; give a larger step"),
        (("<min>0.2", "<min>-0.2"), "is no grid; give 0 <= begin < end"),
        (("<table>", "<table_bins>0</table_bins><table>"), "lammps.table_bins = '0' is too small; give more than 0"),
        (("<table>", "<table_end>0.1</table_end><table>"), "table_begin, table_end, table_bins = '0.2, 0.1, 0.01'"),
        (("<table>", "<scale>-1</scale><table>"), "inverse.lammps.scale = '-1' is too small"),
        (("<name>A-A", "<name>../A"), "name = '../A' is not usable in names of files"),
        (("</inverse></cg>", "<cleanlist>../*</cleanlist></inverse></cg>"), "cleanlist = '../*' is outside"),
        (("</inverse></cg>", "<cleanlist>/tmp/*</cleanlist></inverse></cg>"), "cleanlist = '/tmp/*' is outside"),
        (("<script>", "<command>lmp '</command><script>"), "lammps.command = 'lmp '' is not a command line"),
        (("<script>", "<first_frame>-1</first_frame><script>"), "lammps.first_frame = '-1' is too small"),
        (("</cg>", "<inverse/></cg>"), "cg.inverse is given twice"),
        (("</non-bonded>", "</non-bonded> 0.9 "), "text in cg = '0.9' is not inside a tag"),
        (("<kBT>2.5", "<kBT>2.5<unit>nm</unit>"), "cg.inverse.kBT.unit = 'nm' is unknown to asediff"),
    ],
)
def test_wrong_values_are_named_before_anything_runs(tmp_path, capsys, edit, words):
    path = settings(tmp_path, pair=TABLE, more=LAMMPS + "<filelist>a.in</filelist>")
    text = path.read_text().replace(*edit)
    assert text != path.read_text()
    path.write_text(text)
    assert words in refused(path, capsys)
    assert [entry.name for entry in tmp_path.iterdir()] == ["settings.xml"]


def test_the_same_value_given_twice_is_no_contradiction(tmp_path):
    assert read_settings(settings(tmp_path, more="<kBT>2.5</kBT>")).kBT == 2.5
    with pytest.raises(VotcaError, match=r"kBT = '2\.5, 2\.4' is given twice with different values"):
        read_settings(settings(tmp_path, more="<kBT>2.4</kBT>"))


def test_one_reason_is_not_numbered(tmp_path):
    with pytest.raises(VotcaError) as caught:
        read_settings(settings(tmp_path, method="imc"))
    assert str(caught.value) == "settings.xml: cg.inverse.method = 'imc' is not supported; use ibi"
