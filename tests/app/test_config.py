"""Configurations: what is refused, what is filled in, and that YAML and Python mean the same."""

import inspect

import numpy as np
import pytest
import torch

from asediff.app.config import ConfigError, json_schema, override, parse, plan, read_yaml, relocated, resolve, to_yaml
from asediff.app.config.sections import ENGINE, METHOD, RADIAL
from asediff.dynamics.adjoints import CheckpointAdjoint, DirectAdjoint
from asediff.fitting import BoltzmannPretraining, DiffSim
from asediff.fitting.gradients.finish import LinearFinish
from asediff.potentials import NeuralRadial, TabulatedRadial, TemperatureDependent


def write_curve(path, peak=1.1, end=4.0):
    r = np.linspace(0.02, end, 300)
    g = np.where(r < 0.85 * peak, 0.0, 1 + 1.5 * np.exp(-((r - peak) ** 2) / 0.02) * (r > 0.5))
    np.savetxt(path, np.column_stack([r, g]), header="r g", comments="", delimiter=",")
    return path


@pytest.fixture
def folder(tmp_path):
    write_curve(tmp_path / "g.csv")
    return tmp_path


def minimal(**changes):
    data = {
        "units": "lj",
        "system": {"density": 0.7, "n_atoms": 256},
        "state_points": [{"kT": 1.0, "targets": [{"file": "g.csv"}]}],
    }
    return data | changes


@pytest.mark.parametrize(
    ("assignment", "path", "remedy"),
    [
        ("method.epoch=3", "method.epoch", "did you mean 'epochs'?"),
        ("sed=3", "sed", "did you mean 'seed'?"),
        ("potential.radial.hiden=[3]", "potential.radial.hiden", "did you mean 'hidden'?"),
        ("state_points.0.targets.0.rdf.bin=3", "state_points[0].targets[0].rdf.bin", "did you mean 'bins'?"),
        ("method.pretraining.step=4", "method.pretraining.step", "did you mean 'steps'?"),
        ("potential.pairs.Ar-Kr.priors=none", "potential.pairs.Ar-Kr.priors", "did you mean 'prior'?"),
        ("method.epochs='3'", "method.epochs", "give integer"),
        ("method.epochs=2.5", "method.epochs", "integer"),
        ("state_points.0.kT=-1", "state_points[0].kT", "greater than 0"),
        ("state_points.0.temperature_K=1", "state_points[0]", "give exactly one of the two"),
        ("state_points=[]", "state_points", "give at least 1"),
        ("potential.cutoff=.inf", "potential.cutoff", "finite"),
        ("potential.prior.epsilon=soft", "potential.prior.epsilon", "number"),
        ("potential.radial.kind=spline", "potential.radial.kind", "choose one of neural, tabulated"),
        ("units=si", "units", "choose 'metal', 'real' or 'lj'"),
        ("system=3", "system", "the keys are file, lattice"),
        ("system.cells=3", "system", "give both, or n_atoms alone"),
    ],
)
def test_a_bad_key_or_value_is_refused_with_its_path_and_a_remedy(assignment, path, remedy):
    with pytest.raises(ConfigError) as error:
        parse(override(minimal(), [assignment]), "fit.yaml")
    assert str(error.value).startswith(f"fit.yaml: {path}: ")
    assert remedy in str(error.value)
    assert "\n" not in str(error.value)


def test_a_misspelt_key_is_named_rather_than_the_one_that_is_missing():
    with pytest.raises(ConfigError, match=r"targets\[0\]\.fil: unknown key; did you mean 'file'"):
        parse(minimal(state_points=[{"kT": 1.0, "targets": [{"fil": "g.csv"}]}]))


@pytest.mark.parametrize(
    ("section", "cls"),
    [(METHOD.first, DiffSim), (RADIAL.first, NeuralRadial), *((section, section.makes) for section in ENGINE.sections)],
)
def test_sections_have_the_names_of_the_constructor(section, cls):
    names = set(inspect.signature(cls).parameters) - {"dtype", "units", "workdir"}
    assert set(section.model_fields) - {"kind"} == names


def test_defaults_of_the_method_are_those_of_the_class():
    config = parse(minimal())
    defaults = {name: p.default for name, p in inspect.signature(DiffSim).parameters.items()}
    for name, value in config.method.arguments().items():
        if name not in ("timestep", "gradient", "pretraining", "finish"):
            assert value == defaults[name], name
    assert config.method.gradient.makes is CheckpointAdjoint
    assert config.method.pretraining.makes is BoltzmannPretraining
    assert config.method.finish.made() == LinearFinish()


def test_everything_left_out_is_found_from_the_curve(folder):
    config = resolve(parse(minimal()), folder)
    assert config.potential.cutoff == pytest.approx(2.7 * 1.1, rel=0.01)
    assert config.state_points[0].targets[0].observable.r_max == config.potential.cutoff
    # 0.005 flights over the first-peak distance at thermal speed
    assert config.method.timestep == pytest.approx(0.005 * 1.1, rel=0.02)
    assert config.validation.timestep == config.method.timestep
    assert config.potential.prior.sigma == pytest.approx(0.94, abs=0.02)
    assert config.potential.radial.scale == 1.0


def test_the_prior_is_as_steep_as_g_rises(folder):
    """g(r) that rises as exp(-u/kT) of a power n, 4 kT at its onset, gives about that power."""
    powers = []
    for power in (16.0, 32.0):
        r = np.linspace(0.02, 4.0, 800)
        g = np.exp(-4.6 * r**-power) * (1 + 0.5 * np.exp(-(((r - 1.2) / 0.1) ** 2)))
        np.savetxt(folder / "g.csv", np.column_stack((r, g)))
        prior = resolve(parse(minimal()), folder).potential.prior
        assert prior.epsilon == 4.0
        powers.append(prior.power)
    assert 12.0 <= powers[0] < powers[1] <= 48.0
    assert powers[1] / powers[0] == pytest.approx(2.0, rel=0.25)


def test_a_third_column_of_standard_errors_reaches_the_targets(folder):
    assert plan(resolve(parse(minimal()), folder), folder).state_points[0].targets[0].error is None
    r, g = np.loadtxt(folder / "g.csv", delimiter=",", skiprows=1, unpack=True)
    rows = "\n".join(f"{a},{b},{0.01 * a}" for a, b in zip(r, g, strict=True))
    (folder / "g.csv").write_text(f"r,g,error\n{rows}\n")
    drawn = plan(resolve(parse(minimal()), folder), folder)
    for points in (drawn.state_points, drawn.plain_points):
        target = points[0].targets[0]
        # the first centre lies before the first point, whose error it gets
        assert target.error.numpy()[1:] == pytest.approx(0.01 * target.observable.centers.numpy()[1:])


def test_a_resolved_configuration_is_written_and_read_without_a_change(folder):
    config = resolve(parse(minimal()), folder)
    (folder / "again.yaml").write_text(to_yaml(config))
    again = parse(read_yaml(folder / "again.yaml"))
    assert again == config
    assert resolve(again, folder) == config


def test_the_plan_holds_the_objects_that_the_keys_name(folder):
    data = minimal()
    data["method"] = {"epochs": 7, "timestep": 0.004, "gradient": {"kind": "direct"}, "pretraining": None}
    prepared = plan(resolve(parse(data), folder), folder)
    assert prepared.method == DiffSim(timestep=0.004, epochs=7, gradient=DirectAdjoint(), pretraining=None)
    point = prepared.state_points[0]
    assert (point.system.n_atoms, point.kT) == (256, 1.0)
    assert point.density == pytest.approx(0.7)
    assert float(point.system.masses[0]) == 1.0


def test_temperature_and_time_are_converted_for_real_units(tmp_path):
    write_curve(tmp_path / "g.csv", peak=2.8, end=10.0)
    data = {
        "units": "real",
        "system": {"mass_density": 0.997, "mass": 18.0154, "n_atoms": 500, "symbol": "O"},
        "state_points": [{"temperature_K": 298.0, "targets": [{"file": "g.csv"}]}],
        "method": {"timestep": 4.0},
    }
    prepared = plan(resolve(parse(data), tmp_path), tmp_path)
    assert prepared.state_points[0].kT == pytest.approx(0.0256797, rel=1e-5)  # eV
    assert prepared.state_points[0].density == pytest.approx(0.03333, rel=1e-3)  # 1/Å³
    assert prepared.method.timestep == pytest.approx(4.0 * 0.09822695, rel=1e-6)  # ASE's time unit


def test_a_mixture_has_one_function_for_each_pair(folder):
    data = minimal(
        system={"density": 0.7, "n_atoms": 256, "composition": {"Ar": 0.25, "Kr": 0.75}},
        state_points=[{"kT": 1.0, "targets": [{"file": "g.csv", "pair": ["Ar", "Kr"]}]}],
    )
    data["potential"] = {"pairs": {"Kr-Kr": {"radial": {"kind": "lennard_jones", "epsilon": 1.5}}}}
    prepared = plan(resolve(parse(data), folder), folder)
    assert prepared.potential.pair_names() == ["Ar-Ar", "Ar-Kr", "Kr-Kr"]
    assert prepared.config.potential.pairs["Kr-Kr"].prior == "none"
    numbers = prepared.state_points[0].system.numbers
    assert (numbers == 18).sum() == 64
    # networks of different pairs start from different weights
    weights = [prepared.potential.radial(name).terms[0].mlp[0].weight for name in ("Ar-Ar", "Ar-Kr")]
    assert not torch.equal(*weights)


def test_other_radial_functions_can_be_chosen(folder):
    for radial, cls in (("tabulated", TabulatedRadial), ("temperature_dependent", TemperatureDependent)):
        data = minimal(potential={"radial": {"kind": radial}})
        prepared = plan(resolve(parse(data), folder), folder)
        assert isinstance(prepared.potential.radial().terms[0], cls)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"potential": {"cutoff": 4.5}}, r"state_points\[0\].targets\[0\]: g.csv: ends at r=4, inside 4.5"),
        ({"system": {"density": 0.7, "n_atoms": 20}}, r"state_points\[0\]: cell: .* less than twice the cutoff"),
        ({"system": {"n_atoms": 256}}, "system.density: missing"),
        ({"system": {"mass_density": 1.0}}, "system.mass_density: g/cm³ have no meaning in units lj"),
        ({"system": {"density": 0.7, "symbol": "Qq"}}, "system.symbol: 'Qq' is no chemical symbol"),
        ({"potential": {"pairs": {"O-O": {}}}}, "potential.pairs.O-O: no such pair; choose one of X-X|all"),
        ({"potential": {"file": "none.pt"}}, "potential.file: .*none.pt: no such file"),
        ({"potential": {"radial": {"kind": "neural", "activation": "relu7"}}}, "potential.radial: activation"),
        ({"method": {"save_every": 500}}, "method.steps: 120 with save_every 500 keep 0 frames"),
        ({"system": {"file": "none.xyz"}}, "none.xyz: no such file"),
    ],
)
def test_what_cannot_work_is_refused_before_any_work(folder, changes, message):
    with pytest.raises(ConfigError, match=message):
        plan(resolve(parse(minimal(**changes)), folder), folder)


def test_an_unknown_pair_is_refused(folder):
    data = minimal(state_points=[{"kT": 1.0, "targets": [{"file": "g.csv", "pair": ["X", "O"]}]}])
    with pytest.raises(ConfigError, match=r"state_points\[0\]\.targets\[0\]\.pair: 'O' is not in the system"):
        plan(resolve(parse(data), folder), folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method: [1, 2", "bad.yaml:1"),
        ("seed: 1\nseed: 2", "bad.yaml:2: 'seed' occurs twice"),
        ("just words", "holds no keys"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_with_its_line(tmp_path, text, message):
    (tmp_path / "bad.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_yaml(tmp_path / "bad.yaml")


def test_yaml_takes_scientific_numbers_and_chemical_symbols_as_what_they_are(tmp_path):
    (tmp_path / "a.yaml").write_text("rate: 1e-3\nsymbol: No\nother: 2E5\nflag: true\n")
    assert read_yaml(tmp_path / "a.yaml") == {"rate": 1e-3, "symbol": "No", "other": 2e5, "flag": True}


@pytest.mark.parametrize("assignment", ["epochs", "=3", "state_points.7.kT=1", "seed.x=1"])
def test_an_override_that_leads_nowhere_is_refused(assignment):
    with pytest.raises(ConfigError, match=f"--set {assignment}"):
        override(minimal(seed=1), [assignment])


def test_overrides_leave_the_original_alone():
    data = minimal()
    assert override(data, ["state_points.0.kT=2.5"])["state_points"][0]["kT"] == 2.5
    assert data == minimal()


def test_inputs_are_copied_under_distinct_names(folder):
    (folder / "other").mkdir()
    write_curve(folder / "other" / "g.csv", peak=1.15)
    data = minimal(
        state_points=[
            {"kT": 1.0, "targets": [{"file": "g.csv"}]},
            {"kT": 1.2, "targets": [{"file": "other/g.csv"}, {"file": "g.csv"}]},
        ]
    )
    copied = relocated(resolve(parse(data), folder), folder, folder / "result")
    files = [target.file for point in copied.state_points for target in point.targets]
    assert len(set(files)) == 2
    assert files[0] == files[2]
    for file, source in zip(files, ("g.csv", "other/g.csv", "g.csv"), strict=True):
        assert (folder / "result" / file).read_text() == (folder / source).read_text()
    assert plan(copied, folder / "result").config == copied


def test_the_json_schema_describes_every_key():
    schema = json_schema()
    method = schema["$defs"]["DiffSimSettings"]["properties"]
    assert method["epochs"]["description"]
    assert schema["additionalProperties"] is False
