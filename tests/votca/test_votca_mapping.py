import numpy as np
import pytest
from ase import Atoms

from asediff import votca
from asediff.votca import VotcaError

WATER = """<cg_molecule><name>SOL</name><ident>SOL</ident>
<topology><cg_beads><cg_bead><name>CG</name><type>W</type><mapping>A</mapping>
<beads> 1:SOL:OW 1:SOL:HW1
 1:SOL:HW2 </beads></cg_bead></cg_beads></topology>
<maps><map><name>A</name><weights>16 1 1</weights></map></maps></cg_molecule>"""


@pytest.fixture
def water(tmp_path):
    (tmp_path / "water.xml").write_text(WATER)
    return votca.read_mapping(tmp_path / "water.xml")


def molecules(n=2):
    one = np.array([[0.0, 0, 0], [0.9, 0, 0], [0, 0.9, 0]])
    positions = np.concatenate([one + np.array([3.0 * k, 9.8, 1]) for k in range(n)])
    return Atoms("OHH" * n, positions=positions, cell=[10, 10, 10], pbc=True)


def test_beads_are_weighted_centres_of_whole_molecules(water):
    frame = molecules()
    broken = frame.copy()
    broken.wrap()
    for atoms in (frame, broken):
        beads = votca.map_frames(atoms, water)[0]
        np.testing.assert_allclose(beads.positions % 10, [[0.05, 9.85, 1], [3.05, 9.85, 1]])
        assert beads.arrays["bead_type"].tolist() == ["W", "W"]
        assert beads.get_masses()[0] == pytest.approx(18.015, abs=0.01)
        assert beads.cell.lengths().tolist() == [10, 10, 10]


def test_rdf_of_mapped_frames_finds_the_bead_type(water):
    beads = votca.map_frames(molecules(), water)
    g = votca.rdf(beads, (0.5, 0.5, 4.5), "W", "W")
    assert np.flatnonzero(g.y).tolist() == [5]


def test_two_kinds_are_told_apart_by_residue_name(water, tmp_path):
    (tmp_path / "ion.xml").write_text(
        WATER.replace("SOL", "NA")
        .replace("1:NA:OW 1:NA:HW1\n 1:NA:HW2", "1:NA:Na")
        .replace("16 1 1", "1")
        .replace("<type>W", "<type>I")
    )
    ion = votca.read_mapping(tmp_path / "ion.xml")
    frame = molecules(1) + Atoms("Na", positions=[[5, 5, 5]])
    frame.set_array("residuenumbers", np.array([1, 1, 1, 2]))
    frame.set_array("residuenames", np.array(["SOL", "SOL", "SOL", "NA"]))
    beads = votca.map_frames(frame, [water, ion])[0]
    assert beads.arrays["bead_type"].tolist() == ["W", "I"]
    assert beads.numbers.tolist() == [1, 2]
    np.testing.assert_allclose(beads.positions[1], [5, 5, 5])


def test_a_mapping_that_does_not_match_the_trajectory_is_named(water):
    with pytest.raises(VotcaError, match=r"water.xml: frame 1 has 5 atoms, which is no multiple of the 3 atoms"):
        votca.map_frames(molecules()[:5], water)
    swapped = molecules()[[1, 0, 2, 3, 4, 5]]
    with pytest.raises(VotcaError, match=r"atom 1 is 'H', the mapping of 'SOL' expects 'OW'"):
        votca.map_frames(swapped, water)
    named = molecules()
    named.set_array("residuenumbers", np.array([1, 1, 1, 1, 2, 2]))
    with pytest.raises(VotcaError, match="the molecule at atom 1 has 4 atoms"):
        votca.map_frames(named, water)
    named.set_array("residuenumbers", np.array([1, 1, 1, 2, 2, 2]))
    named.set_array("residuenames", np.array(["ETH"] * 6))
    with pytest.raises(VotcaError, match="molecule 'ETH' at atom 1; the mappings are for SOL"):
        votca.map_frames(named, water)
    torn = molecules()
    torn.positions[1] += [4, 0, 0]
    with pytest.raises(VotcaError, match="half of the box"):
        votca.map_frames(torn, water)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (("16 1 1", "16 1"), "3 atoms and 2 weights"),
        (("<mapping>A", "<mapping>B"), "no map 'B'"),
        (("</cg_bead>", "</cg_bead><cg_bead/>"), "2 beads; one bead"),
        (("1:SOL:OW", "OW"), "RESID:RESNAME:ATOM"),
        (("<type>W</type>", ""), "cg_bead.type is missing"),
        (
            ("<ident>SOL</ident>", "<ident>SOL</ident><colour>red</colour>"),
            "cg_molecule.colour = 'red' is unknown",
        ),
    ],
)
def test_a_bad_mapping_file_is_refused(tmp_path, edit, words):
    (tmp_path / "m.xml").write_text(WATER.replace(*edit))
    with pytest.raises(VotcaError, match=words):
        votca.read_mapping(tmp_path / "m.xml")
