"""`asediff workflow`: what it refuses, what it shows, what it writes."""

import json
import sys
from pathlib import Path

import pytest
from command_line import refused, told

from asediff.cli import main
from asediff.workflow import Chain, Results
from asediff.workflow import runner as runner_module
from asediff.workflow.export import LIST, definition
from asediff.workflow.stages import nodes

CHAIN = """
title: small
presets: {one: {T: 300}}
stages:
  a: {kind: reference, settings: {temperature_K: $T}}
  b: {kind: reference, settings: {temperature_K: 350}}
  fit: {kind: ibi, parents: {reference: [a, b]}}
  v_{at}: {kind: validate, each: {at: [a, b]}, parents: {potential: fit, reference: "{at}"}}
  end: {kind: transfer, parents: {validations: v_*}}
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.yaml").write_text(CHAIN)
    return tmp_path


@pytest.fixture
def finishing(monkeypatch):
    """Stages that have finished as soon as they start; returns the names of those that started."""
    started = []

    def child(_, folder, cores):
        name = folder.name.rpartition("_")[0]
        started.append(name)
        scalars = {"mean_abs_dg": 0.0123, "mean_abs_dg_noise": 0.004, "D": 0.05}
        scalars["temperature_K"] = 350.0 if "b" in name else 300.0
        Results(scalars | ({"verified": "fit" not in bad} if name == "fit" else {})).write(folder)

    bad = []
    monkeypatch.setattr(runner_module, "_as_child", child)
    monkeypatch.setattr(runner_module, "find_lmp", lambda: "lmp")
    return started, bad


class TestRefusals:
    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ([], "chain: missing; give water, or a .yaml of your own"),
            (["wine"], "wine: not a chain that comes with asediff"),
            (["none.yaml"], "none.yaml: no such file"),
            (["small.yaml", "--preset", "two"], "preset: 'two' is not in small.yaml; choose one of one"),
            (["small.yaml", "--set", "ibi.seed"], "--set ibi.seed: not an assignment"),
            (["small.yaml", "--set", "ibi.sed=1"], "stages.fit.settings.sed: unknown key; did you mean"),
            (["small.yaml", "--set", "ibi.seed=[1"], "not a YAML value"),
            (["small.yaml", "--cores", "0"], "--cores 0: no core; give at least 1"),
            (["small.yaml", "--executor", "flux"], "executor: 'flux' is unknown; choose one of executorlib, slurm"),
            (["small.yaml", "--partition", "main"], "--partition: of a queue; give --executor slurm"),
            (["small.yaml", "-o", "small.yaml"], "--output small.yaml: is a file"),
        ],
    )  # fmt: skip
    def test_in_one_line(self, arguments, words, capsys, here):
        assert words in refused(["workflow", *arguments], capsys)
        assert [path.name for path in here.iterdir()] == ["small.yaml"]

    def test_a_queue_that_is_not_here(self, capsys, monkeypatch, here):
        monkeypatch.setenv("PATH", "")
        pytest.importorskip("executorlib")
        assert "slurm needs the program sbatch" in refused(["workflow", "small.yaml", "--executor", "slurm"], capsys)
        assert not (here / "small").exists()

    def test_a_failed_stage(self, capsys, monkeypatch, here):
        def child(_, folder, cores):
            raise runner_module.ChainError("1 is wrong; give 2")

        monkeypatch.setattr(runner_module, "_as_child", child)
        line = refused(["workflow", "small.yaml"], capsys)
        assert "a: 1 is wrong; give 2 (small/a_" in line
        assert "not run, since they depend on it: fit, v_a, v_b, end" in line


class TestWhatItShows:
    def test_the_chains_there_are(self, capsys):
        assert main(["workflow", "--list"]) == 0
        assert "water: Water, one bead per molecule; presets short, standard, paper" in capsys.readouterr().out

    def test_the_plan_runs_nothing(self, capsys, here):
        assert main(["workflow", "small.yaml", "--plan", "--cores", "2"]) == 0
        out = capsys.readouterr().out
        for node in Chain.load("small.yaml").nodes:
            assert node.folder in out
        assert "6 stages, 0 finished; about" in out
        assert "on 2" in out
        assert not (here / "small").exists()

    def test_the_matrix_and_the_report(self, finishing, capsys, here):
        assert main(["workflow", "small.yaml", "--cores", "1"]) == 0
        out = capsys.readouterr().out.splitlines()
        assert "a: started" in out
        assert any(line.split() == ["at", "300", "K", "at", "350", "K"] for line in out)
        assert any(line.startswith("fit  0.0123 (0.0040), D 0.05  0.0123") for line in out)
        assert out[-1].startswith("report: small/end_")

    def test_the_second_call_is_quick_and_does_not_import_torch(self, finishing, capsys, here, monkeypatch):
        main(["workflow", "small.yaml", "-o", "project"])
        started = list(finishing[0])
        monkeypatch.setitem(sys.modules, "torch", None)  # its import would fail
        assert main(["workflow", "small.yaml", "-o", "project"]) == 0
        assert finishing[0] == started

    def test_another_setting_runs_what_depends_on_it(self, finishing, here):
        main(["workflow", "small.yaml"])
        finishing[0].clear()
        assert main(["workflow", "small.yaml", "--set", "ibi.seed=7"]) == 0
        assert sorted(finishing[0]) == ["end", "fit", "v_a", "v_b"]

    def test_an_export_that_lammps_does_not_confirm(self, finishing, capsys):
        finishing[1].append("fit")
        assert main(["workflow", "small.yaml"]) == 1
        assert "fit: LAMMPS disagrees with asediff on the exported table" in capsys.readouterr().out

    def test_an_interruption(self, finishing, capsys, monkeypatch):
        def interrupted(*_, **__):
            raise KeyboardInterrupt

        monkeypatch.setattr(runner_module, "wait", interrupted)
        code, line = told(["workflow", "small.yaml", "--cores", "1"], capsys)
        assert code == 130
        assert "of 6 stages have finished; the same command goes on" in line


class TestDefinition:
    def test_as_the_format_wants_it(self, here, capsys):
        assert main(["workflow", "small.yaml", "-o", "p", "--export", "deep/small.json"]) == 0
        found = json.loads((here / "deep/small.json").read_text())
        assert found["version"] == "0.1.0"
        assert [node["id"] for node in found["nodes"]] == list(range(len(found["nodes"])))
        for node in found["nodes"]:
            assert node.keys() == {"id", "type"} | {
                "function": {"value"}, "input": {"name", "value"}, "output": {"name"}
            }[node["type"]]  # fmt: skip
        for edge in found["edges"]:
            assert edge.keys() == {"source", "sourcePort", "target", "targetPort"}
        assert sum(node["type"] == "output" for node in found["nodes"]) == 1
        assert not (here / "p").exists()

    def test_every_function_gets_its_arguments(self):
        found = definition(Chain.load("small.yaml"), Path("p"))
        by_id = {node["id"]: node for node in found["nodes"]}
        for node in found["nodes"]:
            if node["type"] != "function" or not node["value"].startswith(nodes.__name__):
                continue
            function = getattr(nodes, node["value"].rpartition(".")[2])
            ports = {edge["targetPort"] for edge in found["edges"] if edge["target"] == node["id"]}
            assert ports == set(function.__annotations__) - {"return"}
        gathered = [node["id"] for node in found["nodes"] if node.get("value") == LIST]
        assert len(gathered) == 2
        sources = [by_id[edge["source"]]["value"] for edge in found["edges"] if edge["target"] == gathered[0]]
        assert sources == [f"{nodes.__name__}.reference"] * 2
