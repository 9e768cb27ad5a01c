"""Targets of any observable, and of the user's own; integrators; potentials that no g(r) tells about."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from asediff import ADF, L2, RDF, VACF, Langevin, NoseHooverChain, Pressure, StructureFactor, VelocityVerlet
from asediff.app.config import ConfigError, override, parse, plan, read_yaml, relocated, resolve, to_yaml
from asediff.cli import main

OWN = """
import torch
from asediff import Observable


class Mean(Observable):
    def __init__(self, power=1.0, at=(0.0,)):
        if power == 0:
            raise ValueError("power: 0 is constant; give another")
        self.power, self.at = power, at

    @property
    def centers(self):
        return torch.tensor(self.at, dtype=torch.float64)

    def per_frame(self, trajectory):
        x = trajectory.positions[..., 0] ** self.power
        return x.mean(-1).reshape(-1, 1, 1).expand(-1, 1, len(self.at))


class Number:
    pass
"""
POTENTIAL = """
import torch
from asediff import Potential


class Springs(Potential):
    cutoff = 2.0

    def __init__(self, stiffness=1.0):
        super().__init__()
        self.stiffness = torch.nn.Parameter(torch.tensor(float(stiffness), dtype=torch.float64))

    def energy(self, system, neighbors, kT=None):
        r = torch.linalg.vector_norm(neighbors.displacements(system), dim=-1)
        u = self.stiffness * torch.where(r < self.cutoff, (self.cutoff - r) ** 3, 0.0)
        return r.new_zeros(system.n_systems).index_add(0, system.system_idx[neighbors.first], u)
"""


@pytest.fixture
def folder(tmp_path):
    r = np.linspace(0.02, 4.0, 300)
    g = np.where(r < 0.94, 0.0, 1 + 1.5 * np.exp(-((r - 1.1) ** 2) / 0.02))
    q, theta, time = np.linspace(0.5, 12.0, 100), np.linspace(0.0, 180.0, 61), np.linspace(0.0, 1.0, 50)
    curves = {"g": (r, g), "s": (q, 1 + np.sin(q) / q), "a": (theta, np.sin(np.radians(theta)) / 115.0)}
    for name, columns in (curves | {"v": (time, np.exp(-time))}).items():
        np.savetxt(tmp_path / f"{name}.txt", np.column_stack(columns))
    (tmp_path / "mine.py").write_text(OWN)
    return tmp_path


def lj(*targets, **sections):
    data = {"units": "lj", "system": {"density": 0.7, "n_atoms": 256}, "state_points": [{"kT": 1.0}]}
    data["state_points"][0]["targets"] = list(targets)
    return data | sections


def of(kind, file, **arguments):
    return {"file": file, "observable": {"kind": kind, **arguments}}


def own(name="mine:Mean", **arguments):
    return {"value": 0.3, "observable": {"kind": name, "arguments": arguments}}


G = {"file": "g.txt"}
PLAIN = {"cutoff": 2.5, "radial": {"kind": "lennard_jones"}}


def observables(prepared):
    return [target.observable for target in prepared.state_points[0].targets]


class TestBriefTargets:
    @pytest.mark.parametrize(
        "brief",
        [{}, {"rdf": {"bins": 50}}, {"pair": ["Ar", "Kr"]}, {"pair": ["Ar", "Kr"], "rdf": {"bins": 50, "r_max": 2.0}}],
    )
    def test_stand_for_an_observable_of_kind_rdf(self, brief):
        full = {"kind": "rdf", **brief.get("rdf", {})} | ({"pair": brief["pair"]} if "pair" in brief else {})
        one, other = (parse(lj(G | keys)).state_points[0].targets[0] for keys in (brief, {"observable": full}))
        assert one.observable == other.observable
        assert one.loss == other.loss

    @pytest.mark.parametrize(
        ("keys", "path"),
        [
            ({"rdf": {"bins": 10**9}}, "rdf.bins"),
            ({"pair": ["Ar"]}, "pair"),
            ({"pair": "Ar"}, "pair"),
            ({"rdf": 3}, "rdf"),
            ({"observable": {"kind": "rdf", "bins": 10**9}}, "observable.bins"),
            ({"observable": 3}, "observable"),
            ({"observable": {"kind": "rdf"}, "rdf": {}}, "rdf"),
        ],
    )
    def test_are_blamed_as_they_were_written(self, folder, keys, path):
        with pytest.raises(ConfigError, match=re.escape(f"state_points[0].targets[0].{path}: ")):
            resolve(parse(lj(G | keys)), folder)


@pytest.mark.parametrize(("unit", "power"), [("time", 1), ("1/time", -1), ("length", 0)])
def test_curves_over_time_are_converted_whoever_wrote_the_observable(folder, unit, power):
    """Configurations count time in fs; an observable says by its unit that its abscissa is one, ours or the user's."""
    own = OWN.replace("class Mean(Observable):", f"class Mean(Observable):\n    abscissa_unit = {unit!r}")
    (folder / "timed.py").write_text(own)
    fs, values = np.array([0.0, 10.0, 20.0, 30.0]), np.array([0.4, 0.3, 0.1, 0.2])
    np.savetxt(folder / "m.txt", np.column_stack([fs, values]))
    factor = 0.09822695**power  # Å √(u/eV) in 1 fs
    at = [10.0 * factor, 20.0 * factor]
    target = {"file": "m.txt", "observable": {"kind": "timed:Mean", "arguments": {"at": at}}}
    plain = PLAIN | {"cutoff": 8.0}
    data = lj(target, potential=plain, units="real", method={"timestep": 1.0}, validation={"kind": "torch"})
    data["state_points"] = [{"temperature_K": 300.0, "targets": [target]}]
    data["system"] = {"density": 0.01, "n_atoms": 500, "symbol": "Ar"}
    (point,) = plan(resolve(parse(data), folder), folder).plain_points
    assert point.targets[0].reference.tolist() == pytest.approx([0.3, 0.1], rel=1e-4)


def test_a_file_that_is_called_like_a_kind_of_asediff_is_left_alone(folder):
    (folder / "structure_factor.py").write_text("raise SystemExit")
    config = resolve(parse(lj(of("structure_factor", "s.txt"), potential=PLAIN)), folder)
    relocated(config, folder, folder / "result")
    assert sorted(path.name for path in (folder / "result/inputs").iterdir()) == ["s.txt"]


class TestWhatIsFound:
    def test_bins_and_spacings_come_from_the_curves(self, folder):
        curves = (G, of("structure_factor", "s.txt"), of("adf", "a.txt"), of("vacf", "v.txt"))
        data = lj(*curves, method={"timestep": 0.005})
        resolved = resolve(parse(data), folder)
        prepared = plan(resolved, folder)
        rdf, s, adf, vacf = observables(prepared)
        assert (type(rdf), type(s), type(adf), type(vacf)) == (RDF, StructureFactor, ADF, VACF)
        # each bin holds a wave vector of the box: multiples of 2 pi / L are no farther apart
        edge = (256 / 0.7) ** (1 / 3)
        assert 2 * np.pi / edge <= (s.q_max - s.q_min) / s.bins < 1.1 * 2 * np.pi / edge
        assert float(s.centers[0]) >= 0.5
        assert float(s.centers[-1]) <= 12.0
        assert (adf.bins, adf.cutoff) == (61, pytest.approx(1.65, rel=0.01))  # 1.5 first-peak distances
        # frames of an epoch, half of them lags; the independent runs keep frames as far apart
        assert (vacf.spacing, vacf.n_lags) == (pytest.approx(0.025), 12)
        assert (resolved.validation.timestep, resolved.validation.save_every) == (0.005, 5)
        assert resolved.state_points[0].targets[1].loss.kind == "l2"
        assert resolve(resolved, folder) == resolved
        (folder / "again.yaml").write_text(to_yaml(resolved))
        assert parse(read_yaml(folder / "again.yaml")) == resolved

    def test_times_are_converted(self, folder):
        data = lj(of("vacf", "v.txt", spacing=10.0, n_lags=2), potential=PLAIN | {"cutoff": 8.0}, units="real")
        data["system"] = {"density": 0.03, "n_atoms": 500, "mass": 18.0}
        data["state_points"][0] |= {"kT": 0.025}
        data["method"] = {"timestep": 2.0}
        np.savetxt(folder / "v.txt", np.column_stack([np.linspace(0, 100, 50), np.exp(-np.linspace(0, 5, 50))]))
        (vacf,) = observables(plan(resolve(parse(data), folder), folder))
        assert vacf.spacing == pytest.approx(10.0 * 0.09822695, rel=1e-6)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({}, "potential.cutoff: missing; no target is a g"),
            ({"potential": {"cutoff": 2.5}}, "potential.prior: missing; no target is a g"),
            (
                {"potential": {"cutoff": 2.5, "prior": "none", "radial": {"kind": "tabulated"}}},
                "potential.radial.r_min: missing; no target is a g",
            ),
            (
                {"method": {"kind": "ibi"}, "potential": {"cutoff": 2.5}},
                "structure_factor is no g.*, which ibi",
            ),
        ],
    )
    def test_what_no_curve_tells_has_to_be_given(self, folder, changes, message):
        with pytest.raises(ConfigError, match=message):
            resolve(parse(lj(of("structure_factor", "s.txt"), **changes)), folder)

    def test_the_rest_is_found_without_a_g_of_r(self, folder):
        resolved = resolve(parse(lj(of("structure_factor", "s.txt"), potential=PLAIN)), folder)
        # neighbours are about a cube root of the volume per atom away
        assert resolved.method.timestep == pytest.approx(0.005 * 0.7 ** (-1 / 3), rel=0.02)
        assert resolved.potential.prior == "none"

    @pytest.mark.parametrize(
        ("target", "message"),
        [
            (of("adf", "a.txt"), r"targets\[0\].observable.cutoff: missing; the state point has no g"),
            (of("vacf", "v.txt", spacing=0.013), r"targets\[0\].observable.spacing: 0.013, but method keeps frames"),
            (of("vacf", "v.txt", n_lags=30), r"targets\[0\].observable.n_lags: 30 lags, but method keeps 24 frames"),
            ({"file": "s.txt", "observable": {"kind": "s(q)"}}, "'s.q.' is unknown; choose one of rdf, adf, vacf"),
            (
                {"file": "g.txt", "observable": {"kind": "pressure"}},
                "file: a curve, but a pressure is a number",
            ),
            ({"value": 1.0}, "value: one number, but rdf is a curve; give its file"),
            ({"observable": {"kind": "rdf"}}, "file, value: neither is given"),
            (of("structure_factor", "s.txt", r_max=2.0), "observable.r_max: unknown key; did you mean 'q_max'"),
            (of("adf", "none.txt", cutoff=1.5), "none.txt: no such file"),
        ],
    )
    def test_what_cannot_be_meant_is_one_line(self, folder, target, message):
        with pytest.raises(ConfigError, match=message) as error:
            resolve(parse(lj(target, potential=PLAIN)), folder)
        assert "\n" not in str(error.value)

    def test_a_correlation_cannot_be_reweighted(self, folder):
        data = lj(of("vacf", "v.txt"), potential=PLAIN, method={"kind": "reweighting"})
        with pytest.raises(ConfigError, match=r"method: targets: .* needs observables of single frames"):
            plan(resolve(parse(data), folder), folder)

    def test_plain_bins_go_with_the_relative_entropy(self, folder):
        prepared = plan(resolve(parse(lj(G, method={"kind": "relative_entropy"})), folder), folder)
        assert observables(prepared)[0].width == 0
        assert type(prepared.method).__name__ == "RelativeEntropy"

    def test_a_single_number_is_a_target(self, folder):
        data = lj({"value": 0.4, "observable": {"kind": "pressure"}}, G)
        target = plan(resolve(parse(data), folder), folder).state_points[0].targets[0]
        assert (type(target.observable), float(target.reference), type(target.loss)) == (Pressure, 0.4, L2)


class TestOwnObservables:
    def test_are_found_beside_the_configuration(self, folder):
        data = lj(own(power=2.0), potential=PLAIN)
        (mean,) = observables(plan(resolve(parse(data), folder), folder))
        assert (type(mean).__module__, type(mean).__name__, mean.power) == ("mine", "Mean", 2.0)

    def test_are_copied_with_the_inputs(self, folder):
        resolved = resolve(parse(lj(own(at=[0.0]), potential=PLAIN)), folder)
        copied = relocated(resolved, folder, folder / "result")
        (folder / "mine.py").unlink()
        (mean,) = observables(plan(copied, folder / "result"))
        assert mean.at == (0.0,)

    def test_are_found_among_installed_modules(self, folder, monkeypatch):
        (folder / "elsewhere").mkdir()
        (folder / "mine.py").rename(folder / "elsewhere" / "mine_installed.py")
        monkeypatch.syspath_prepend(folder / "elsewhere")
        (mean,) = observables(plan(resolve(parse(lj(own("mine_installed:Mean"), potential=PLAIN)), folder), folder))
        assert mean.power == 1.0

    @pytest.mark.parametrize(
        ("target", "message"),
        [
            (own("yours:Mean"), "observable: kind: no module 'yours'; yours.py is not in .*, nor is it installed"),
            (own("no.such:Mean"), "observable: kind: no module 'no.such'"),
            (own("mine:Median"), "observable: kind: no 'Median' in .*mine.py"),
            (own("mine:Number"), "observable: kind: Number of .*mine.py is no Observable"),
            (own("mine:OWN"), "observable: kind: no 'OWN'"),
            (own(powr=1), "observable: arguments: Mean does not take .*powr"),
            (own(power=0), "observable: arguments: Mean does not take .*power: 0 is constant"),
            (own("broken:Mean"), "observable: kind: broken cannot be imported .SyntaxError"),
            (own("needy:Mean"), "observable: kind: needy cannot be imported .No module named 'nothing_there'"),
            (own("torch:Mean"), "observable: kind: torch cannot be imported .ImportError: there is another module"),
            (own("mi ne:Mean"), "observable.kind: 'mi ne:Mean' is not accepted"),
        ],
    )
    def test_that_cannot_be_made_are_one_line(self, folder, target, message):
        (folder / "broken.py").write_text("class Mean(:\n")
        (folder / "needy.py").write_text("import nothing_there\n")
        (folder / "torch.py").write_text("")
        with pytest.raises(ConfigError, match=message) as error:
            plan(resolve(parse(lj(target, potential=PLAIN)), folder), folder)
        assert "\n" not in str(error.value)

    @pytest.mark.parametrize(
        ("body", "message"),
        [
            ("return trajectory.nothing", r"targets\[0\].observable: mine:Mean fails for the start .*AttributeError"),
            ("return torch.zeros(1, 1, 7)", r"mean: per_frame gives .7,. values per system, and centers has 1"),
        ],
    )
    def test_that_fail_are_told_before_the_fit(self, folder, body, message):
        (folder / "mine.py").write_text(
            OWN.replace("x = trajectory.positions", f"{body}\n        x = trajectory.positions")
        )
        with pytest.raises(ConfigError, match=message):
            plan(resolve(parse(lj(own(), potential=PLAIN)), folder), folder)

    def test_go_through_a_fit_that_is_resumed_from_its_folder_alone(self, folder, monkeypatch, capsys):
        pressure = {"value": 0.4, "observable": {"kind": "pressure"}}
        data = lj(own(), pressure, potential=PLAIN, system={"density": 0.7, "n_atoms": 150})
        data["method"] = {"epochs": 2, "steps": 10, "equilibration_steps": 5, "checkpoint_every": 1}
        data["validation"] = {"kind": "torch", "equilibration_steps": 5, "steps": 40, "save_every": 4}
        config = parse(data)
        (folder / "fit.yaml").write_text(to_yaml(config))
        monkeypatch.chdir(folder)
        assert main(["fit", "fit.yaml", "--quiet", "-o", "result"]) == 0, capsys.readouterr().err
        Path("mine.py").unlink()
        assert main(["fit", "--resume", "--quiet", "-o", "result"]) == 0
        assert main(["validate", "result/potential.pt", "result/config.yaml", "--engine", "torch", "-o", "curves"]) == 0
        assert list(Path("curves").glob("*_0_*.csv"))


class TestOwnPotentials:
    @pytest.fixture
    def springs(self, folder):
        (folder / "springs.py").write_text(POTENTIAL)
        return {"kind": "springs:Springs", "arguments": {"stiffness": 3.0}}

    def test_are_stated_by_class_and_arguments_alone(self, folder, springs):
        data = lj(G, potential=springs, validation={"kind": "torch"})
        resolved = relocated(resolve(parse(data), folder), folder, folder / "result")
        (folder / "again.yaml").write_text(to_yaml(resolved))
        assert read_yaml(folder / "again.yaml")["potential"] == springs
        assert parse(read_yaml(folder / "again.yaml")) == resolved
        assert (folder / "result" / "inputs" / "springs.py").is_file()

    def test_go_through_a_fit_its_resumption_and_validation(self, folder, springs, monkeypatch, capsys):
        data = lj(G, potential=springs, validation={"kind": "torch", "equilibration_steps": 5, "steps": 40})
        data["validation"]["save_every"] = 4
        data["method"] = {"epochs": 2, "steps": 10, "equilibration_steps": 5, "integrator": {"kind": "langevin"}}
        monkeypatch.chdir(folder)
        Path("fit.yaml").write_text(to_yaml(parse(data)))
        assert main(["fit", "fit.yaml", "--quiet", "-o", "result"]) == 0, capsys.readouterr().err
        Path("springs.py").unlink()
        assert main(["fit", "--resume", "--quiet", "-o", "result"]) == 0, capsys.readouterr().err
        validated = ["validate", "result/potential.pt", "result/config.yaml", "--engine", "torch"]
        assert main(validated) == 0, capsys.readouterr().err
        (folder / "springs.py").write_text(POTENTIAL)
        again = lj(G, potential=springs | {"file": "result/potential.pt"}, validation={"kind": "torch"})
        assert float(plan(resolve(parse(again), folder), folder).potential.stiffness.detach()) != 3.0

    def test_that_fail_are_told_before_the_fit(self, folder, springs):
        (folder / "springs.py").write_text(POTENTIAL.replace("r = torch", "nothing()\n        r = torch"))
        with pytest.raises(ConfigError, match=r"potential: springs:Springs fails for the start structure .NameError"):
            plan(resolve(parse(lj(G, potential=springs, validation={"kind": "torch"})), folder), folder)

    def test_have_no_files_for_lammps(self, folder, springs):
        with pytest.raises(ConfigError, match=r"validation.kind: potential: Springs is not pairwise.*or choose torch"):
            plan(resolve(parse(lj(G, potential=springs)), folder), folder)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"cutoff": 2.0}, "potential: kind: a potential of your own brings its own cutoff; leave them out"),
            ({"file": "lj.pt", "core": 0.3}, "potential: file: a saved potential brings its own core; leave them out"),
            ({"kind": None}, "potential: arguments: of no class; give the kind"),
            ({"kind": "springs"}, "potential.kind: 'springs' is not accepted; write my_module:MyClass"),
            ({"kind": "springs:torch"}, "potential: kind: torch of .*springs.py is no Potential"),
            ({"arguments": {"k": 1}}, "potential: arguments: Springs does not take"),
        ],
    )
    def test_that_cannot_be_meant_are_one_line(self, folder, springs, changes, message):
        with pytest.raises(ConfigError, match=message):
            plan(resolve(parse(lj(G, potential=springs | changes)), folder), folder)

    def test_are_not_used_by_methods_that_make_tables(self, folder, springs):
        with pytest.raises(ConfigError, match=r"potential.kind: ibi makes tables, and does not use it"):
            resolve(parse(lj(G, potential=springs, method={"kind": "ibi"})), folder)


class TestIntegrators:
    @pytest.mark.parametrize(
        ("section", "made"),
        [
            ({"kind": "langevin", "friction": 2.0}, Langevin(0.004, friction=2.0)),
            ({"kind": "langevin"}, Langevin(0.004, friction=2.5)),  # 0.01 per step
            ({"tdamp": 0.3}, NoseHooverChain(0.004, tdamp=0.3)),
            ({"kind": "velocity_verlet"}, VelocityVerlet(0.004)),
        ],
    )
    def test_of_a_fit_and_its_validation(self, folder, section, made):
        data = lj(G, method={"timestep": 0.004, "integrator": section}, validation={"kind": "torch"})
        data["validation"]["integrator"] = section | {"timestep": 0.004}
        resolved = resolve(parse(data), folder)
        prepared = plan(resolved, folder)
        assert prepared.method.integrator == made
        assert prepared.method.timestep == resolved.validation.timestep == 0.004
        assert resolved.validation.made().integrator == made

    def test_brings_the_time_step_of_the_fit(self, folder):
        data = lj(G, method={"integrator": {"kind": "langevin", "timestep": 0.003}})
        assert resolve(parse(data), folder).method.timestep == 0.003

    def test_times_and_rates_are_converted(self, folder):
        section = parse(lj(G, method={"integrator": {"kind": "langevin", "timestep": 2.0, "friction": 0.01}})).method
        made = section.integrator.made(0.1)
        assert (made.timestep, made.friction) == (pytest.approx(0.2), pytest.approx(0.1))

    @pytest.mark.parametrize(
        ("assignment", "message"),
        [
            ("method.integrator.kind=euler", "method.integrator.kind: 'euler' is unknown; choose one of nose_hoover"),
            ("method.integrator={kind: langevin, tdamp: 1}", "method.integrator.tdamp: unknown key; the keys are"),
            ("method.integrator={kind: langevin, friction: -1}", "method.integrator.friction: -1"),
            ("validation.integrator={}", "validation.integrator: unknown key"),
        ],
    )
    def test_that_cannot_be_meant_are_one_line(self, folder, assignment, message):
        with pytest.raises(ConfigError, match=message):
            resolve(parse(override(lj(G), [assignment])), folder)


class TestRun:
    @pytest.fixture
    def here(self, tmp_path, monkeypatch):
        from ase.io import write

        from asediff import LennardJones, PairPotential, lattices, save_potential

        monkeypatch.chdir(tmp_path)
        write("start.extxyz", lattices.fcc("Ar", density=0.7, cells=3, mass=1.0, rattle=0.02))
        save_potential(PairPotential(LennardJones(), 2.2), "lj.pt")
        return ["run", "lj.pt", "start.extxyz", "--units", "lj", "--kT", "1", "--timestep", "0.004", "--overwrite"]

    def energies(self, command):
        from ase.io import read

        assert main([*command, "--steps", "40", "--save-every", "20"]) == 0
        return Path("trajectory.extxyz").read_bytes(), read("trajectory.extxyz", ":")

    def test_takes_each_integrator_and_the_older_names_of_two(self, here):
        written = {
            kind: self.energies([*here, option, kind])[0]
            for option, kind in (
                ("--integrator", "nose_hoover"),
                ("--thermostat", "nose-hoover"),
                ("--integrator", "langevin"),
                ("--thermostat", "langevin"),
                ("--integrator", "velocity_verlet"),
            )
        }
        assert written["nose_hoover"] == written["nose-hoover"] == self.energies(here)[0]
        assert len({written[kind] for kind in ("nose_hoover", "langevin", "velocity_verlet")}) == 3

    def test_takes_the_arguments_of_the_integrator(self, here):
        langevin = [*here, "--integrator", "langevin"]
        # 0.01 per step is what is found
        assert self.energies([*langevin, "--set", "friction=2.5"])[0] == self.energies(langevin)[0]
        assert self.energies([*langevin, "--set", "friction=5"])[0] != self.energies(langevin)[0]

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (
                ["--set", "friction=1"],
                "--set: integrator.friction: unknown key; the keys are kind, timestep, tdamp",
            ),
            (["--set", "tdamp=-1"], "--set.tdamp: -1"),
            (["--set", "tdamp"], "--set tdamp: not an assignment"),
            (["--integrator", "euler"], "invalid choice: 'euler'"),
        ],
    )
    def test_refuses_others_in_one_line(self, here, options, message):
        done = subprocess.run(
            [sys.executable, "-m", "asediff.cli", *here, *options], capture_output=True, text=True, check=False
        )
        assert done.returncode == 2
        assert message in done.stderr
        assert done.stderr.count("\n") == 1
