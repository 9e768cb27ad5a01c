"""Methods that make tables: one set of bins for all targets, and a configuration that states the tables they use."""

import numpy as np
import pytest
import torch

from asediff.app.config import ConfigError, override, parse, plan, read_yaml, relocated, resolve, to_yaml
from asediff.potentials import LennardJones, PairPotential, Shifted, TabulatedRadial, save_potential

PEAKS = {("Ar", "Ar"): 1.0, ("Ar", "Kr"): 1.07, ("Kr", "Kr"): 1.15}
METHODS = ("gauss_newton", "imc", "ibi", "ihnc")


def write_curve(path, peak, end=3.2):
    r = np.linspace(0.02, end, 300)
    g = np.where(r < 0.85 * peak, 0.0, 1 + 1.5 * np.exp(-((r - peak) ** 2) / 0.02))
    np.savetxt(path, np.column_stack([r, g]))


@pytest.fixture
def folder(tmp_path):
    for (a, b), peak in PEAKS.items():
        write_curve(tmp_path / f"{a}{b}.txt", peak)
    return tmp_path


def mixture(kind="gauss_newton", **changes):
    targets = [{"file": f"{a}{b}.txt", "pair": [a, b]} for a, b in PEAKS]
    return {
        "units": "lj",
        "system": {"density": 0.7, "n_atoms": 400, "composition": {"Ar": 0.5, "Kr": 0.5}},
        "state_points": [{"kT": 1.0, "targets": targets}],
        "method": {"kind": kind},
    } | changes


def single(kind="ibi", **changes):
    return {
        "units": "lj",
        "system": {"density": 0.7, "n_atoms": 256},
        "state_points": [{"kT": 1.0, "targets": [{"file": "ArAr.txt"}]}],
        "method": {"kind": kind},
    } | changes


@pytest.mark.parametrize("kind", METHODS)
def test_the_bins_of_several_targets_are_chosen_once(folder, kind):
    resolved = resolve(parse(mixture(kind)), folder)
    rdfs = [target.observable for target in resolved.state_points[0].targets]
    assert len({(rdf.r_min, rdf.r_max, rdf.bins) for rdf in rdfs}) == 1
    # fifty for the smallest of the first-peak distances
    assert rdfs[0].bins == pytest.approx(rdfs[0].r_max / (min(PEAKS.values()) / 50), abs=2)
    prepared = plan(resolved, folder)
    assert len(prepared.method.prepare(None, prepared.state_points).pair_names()) == 3


def test_bins_of_one_width_follow_from_different_windows(folder):
    data = override(mixture("reweighting"), ["state_points.0.targets.1.rdf.r_max=2.0"])
    rdfs = [target.observable for target in resolve(parse(data), folder).state_points[0].targets]
    widths = [rdf.r_max / rdf.bins for rdf in rdfs]
    assert widths == pytest.approx([widths[0]] * 3, rel=0.01)


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize("data", [single, mixture])
def test_the_resolved_configuration_states_the_tables_that_are_used(folder, kind, data):
    resolved = resolve(parse(data(kind)), folder)
    prepared = plan(resolved, folder)
    used = prepared.method.prepare(None, prepared.state_points)
    stated = resolved.potential
    assert stated.cutoff == pytest.approx(used.cutoff, rel=1e-11)
    assert stated.truncation.makes is Shifted
    assert isinstance(used.truncation, Shifted)
    assert (stated.core, stated.n_knots, stated.prior) == (used.core, used.n_knots, "none")
    sections = {name: pair.radial for name, pair in stated.pairs.items()} or {"all": stated.radial}
    assert set(sections) == set(used.pair_names())
    for name, section in sections.items():
        radial = used.radial(None if name == "all" else name)
        assert isinstance(radial, TabulatedRadial)
        assert section.kind == "tabulated"
        assert (section.n_knots, section.r_min) == (len(radial.r), pytest.approx(float(radial.r[0]), rel=1e-11))
    for target, made in zip(resolved.state_points[0].targets, prepared.state_points[0].targets, strict=True):
        assert target.observable.width == made.observable.width == 0


@pytest.mark.parametrize("data", [single(), mixture(), mixture("diffsim"), single("reweighting")])
def test_what_is_stated_is_read_back_without_a_change(folder, data):
    resolved = resolve(parse(data), folder)
    (folder / "again.yaml").write_text(to_yaml(resolved), encoding="utf-8")
    again = parse(read_yaml(folder / "again.yaml"))
    assert again == resolved
    assert resolve(again, folder) == resolved


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("potential.radial={kind: lennard_jones}", "potential.radial: ibi makes tables from the targets"),
        ("potential.prior=automatic", "potential.prior: ibi makes tables"),
        ("potential.truncation={kind: switched}", "potential.truncation: ibi makes tables"),
        ("potential.n_knots=500", "potential.n_knots: ibi makes tables"),
        ("state_points.0.targets.0.rdf.width=0.1", r"rdf.width: 0.1 is not used by ibi"),
        ("state_points.0.targets.0.rdf.bins=5", r"rdf: bins: only 5 of them lie within the cutoff"),
    ],
)
def test_what_a_table_method_does_not_use_is_refused(folder, assignment, message):
    with pytest.raises(ConfigError, match=message):
        resolve(parse(override(single(), [assignment])), folder)


def test_a_histogram_without_a_gradient_is_refused_where_the_dynamics_is_differentiated(folder):
    data = override(single("diffsim"), ["state_points.0.targets.0.rdf.width=0"])
    with pytest.raises(ConfigError, match=r"rdf.width: 0 leaves g\(r\) without a gradient"):
        resolve(parse(data), folder)


class TestSavedPotential:
    @pytest.fixture
    def saved(self, folder):
        save_potential(PairPotential(LennardJones(), 2.3), folder / "lj.pt")
        return folder

    def test_the_configuration_states_the_file_alone(self, saved):
        resolved = relocated(
            resolve(parse(single("diffsim", potential={"file": "lj.pt"})), saved), saved, saved / "run"
        )
        (saved / "run" / "config.yaml").write_text(to_yaml(resolved), encoding="utf-8")
        data = read_yaml(saved / "run" / "config.yaml")
        assert data["potential"] == {"file": "inputs/lj.pt"}
        assert parse(data) == resolved
        assert plan(parse(data), saved / "run").potential.cutoff == 2.3

    def test_what_the_file_brings_cannot_be_given_beside_it(self, saved):
        with pytest.raises(ConfigError, match="potential: file: a saved potential brings its own core, cutoff; leave"):
            parse(single("diffsim", potential={"file": "lj.pt", "cutoff": 2.0, "core": 0.3}))


def test_the_table_of_a_plan_is_that_of_the_configuration(folder):
    prepared = plan(resolve(parse(single()), folder), folder)
    used = prepared.method.prepare(None, prepared.state_points)
    assert used.cutoff == pytest.approx(prepared.config.potential.cutoff, rel=1e-11)
    assert torch.isfinite(used.radial().values).all()


@pytest.mark.parametrize("kind", ["imc", "gauss_newton", "ihnc"])
def test_a_section_without_its_kind_is_that_of_the_default(kind):
    left_out = parse(single(kind)).method
    for name in ("engine", "regularization"):
        given = parse(override(single(kind), [f"method.{name}={{}}"])).method
        assert getattr(given, name) == getattr(left_out, name)


def test_the_update_without_its_kind_is_that_of_the_default():
    assert parse(override(single(), ["method.update={}"])).method.update == parse(single()).method.update
