"""Chains as data: what a file may say, which graph comes of it, and when keys change. Nothing runs here."""

import re

import pytest
import yaml

from asediff.app.config.errors import ConfigError
from asediff.workflow import keys
from asediff.workflow.chain import Chain, chains_supplied, parse_assignments
from asediff.workflow.plan import expectations, plan_lines, settings_of, state
from asediff.workflow.results import RESULTS, Results, ResultsError
from asediff.workflow.stages import KINDS, stage
from asediff.workflow.stages.base import Record, StageError

SMALL = """
title: small
values: {temperatures: [288, 388], molecules: 216}
presets:
  quick: {ps: 1.0}
  slow: {ps: 100.0, molecules: 500}
stages:
  reference_{T}K:
    kind: reference
    each: {T: $temperatures}
    settings: {temperature_K: $T, molecules: $molecules, production_ps: $ps}
  diffsim_{T}K:
    kind: diffsim
    each: {T: $temperatures}
    parents: {reference: "reference_{T}K"}
    settings: {method: {epochs: 10}}
  diffsim_all:
    kind: diffsim
    parents: {reference: reference_*}
    settings: {potential: {radial: {kind: temperature_dependent}}}
  validate_{T}K_at_{S}K:
    kind: validate
    each: {T: $temperatures, S: $temperatures}
    parents: {potential: "diffsim_{T}K", reference: "reference_{S}K"}
  transfer: {kind: transfer, parents: {validations: validate_*}}
"""


@pytest.fixture
def load(tmp_path):
    """A chain from the text above with other sections: `stages__transfer__kind` for `stages.transfer.kind`."""

    def loaded(text=SMALL, preset=None, overrides=None, **changes):
        data = yaml.safe_load(text)
        for path, value in changes.items():
            *parents, last = path.split("__")
            node = data
            for name in parents:
                node = node[name]
            node[last] = value
        (tmp_path / "small.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
        return Chain.load(tmp_path / "small.yaml", preset=preset, overrides=overrides)

    return loaded


def keys_of(chain):
    return {node.name: node.key for node in chain.nodes}


class TestGraph:
    def test_each_makes_a_stage_of_every_combination(self, load):
        names = [node.name for node in load().nodes if node.kind == "validate"]
        assert names == [f"validate_{T}K_at_{S}K" for T in (288, 388) for S in (288, 388)]

    def test_parents_come_first(self, load):
        seen = set()
        for node in load().nodes:
            assert seen.issuperset(name for names in node.parents.values() for name in names)
            seen.add(node.name)

    def test_a_star_stands_for_all_that_match_in_the_order_of_the_file(self, load):
        chain = load()
        assert chain["diffsim_all"].parents == {"reference": ("reference_288K", "reference_388K")}
        assert len(chain["transfer"].parents["validations"]) == 4

    def test_values_come_from_the_preset_and_else_from_values(self, load):
        quick, slow = load(), load(preset="slow")
        assert (quick.preset, slow.preset) == ("quick", "slow")
        assert [c["reference_288K"].settings["production_ps"] for c in (quick, slow)] == [1.0, 100.0]
        assert [c["reference_288K"].settings["molecules"] for c in (quick, slow)] == [216, 500]

    def test_settings_have_their_defaults(self, load):
        settings = load()["diffsim_288K"].settings
        assert settings["method"]["kind"] == "diffsim"
        assert settings["method"]["learning_rate"] == 2e-3

    def test_settings_mean_the_same_when_they_are_read_again(self, load):
        for node in load().nodes:
            assert settings_of(node).model_dump(mode="json") == node.settings

    def test_points_and_signs_are_no_letters_of_a_name(self, load):
        text = "title: x\nstages: {'a_{T}': {kind: reference, each: {T: [288.5, -1, 1.0e-3]}}}"
        assert [node.name for node in load(text).nodes] == ["a_288p5", "a_m1", "a_0p001"]


class TestOverrides:
    def test_a_value_of_the_preset(self, load):
        chain = load(overrides={"temperatures": [300]})
        assert [node.name for node in chain.nodes if node.kind == "reference"] == ["reference_300K"]

    def test_a_setting_of_a_kind(self, load):
        chain = load(overrides={"diffsim.method.epochs": 7})
        assert {node.settings["method"]["epochs"] for node in chain.nodes if node.kind == "diffsim"} == {7}

    def test_a_setting_of_one_stage(self, load):
        chain = load(overrides={"diffsim_288K.method.epochs": 7})
        assert [chain[f"diffsim_{T}K"].settings["method"]["epochs"] for T in (288, 388)] == [7, 10]

    def test_of_a_command_line(self):
        found = parse_assignments(["a.b=[1, 2e-3]", "c=x", " d.e = {kind: rdf}"])
        assert found == {"a.b": [1, 2e-3], "c": "x", "d.e": {"kind": "rdf"}}

    @pytest.mark.parametrize(
        ("path", "words"),
        [
            ("molecule", "molecule: no value of .*; did you mean 'molecules'"),
            ("diffsin.method.epochs", "'diffsin' is no stage nor kind .*did you mean 'diffsim'"),
            (
                "diffsim.method.epoch",
                r"stages.diffsim_\{T\}K.settings.method.epoch: unknown key; did you mean 'epochs'",
            ),
            ("diffsim.seed.x", "diffsim.seed.x=1: seed is 3 and has no keys"),
        ],
    )
    def test_that_cannot_be_meant(self, load, path, words):
        with pytest.raises(ConfigError, match=words):
            load(overrides={"diffsim.seed": 3, path: 1})

    @pytest.mark.parametrize("text", ["epochs", "=5", "a.b=[1"])
    def test_that_are_no_assignments(self, text):
        with pytest.raises(ConfigError, match="--set"):
            parse_assignments([text])


class TestRefusals:
    """One line each, with the file and the key."""

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"titel": "x"}, "titel: unknown key; did you mean 'title'"),
            ({"stages__transfer__knd": "x"}, "stages.transfer.knd: unknown key; did you mean 'kind'"),
            ({"stages__transfer__kind": "transfr"}, "'transfr' is unknown; did you mean 'transfer'"),
            ({"stages__diffsim_all__parents": {"reference": "reference_300K"}}, "no stage 'reference_300K'; did"),
            ({"stages__diffsim_all__parents": {"refrence": "reference_*"}}, "refrence: unknown role of diffsim"),
            ({"stages__diffsim_all__parents": {}}, "parents.reference: 0 stages are given; give at least one"),
            ({"stages__diffsim_all__parents": {"reference": "diffsim_288K"}}, "diffsim_288K is of kind diffsim; give"),
            ({"stages__validate_{T}K_at_{S}K__parents": {"potential": "diffsim_*", "reference": "reference_{S}K"}},
             "parents.potential: 3 stages are given; give one"),
            ({"stages__diffsim_all__settings": {"sed": 1}}, "settings.sed: unknown key; did you mean 'seed'"),
            ({"stages__diffsim_all__settings": {"seed": "$sed"}}, r"settings.seed: \$sed is not among the values"),
            ({"stages__diffsim_all__settings": {"seed": -1}}, "settings.seed: -1 is not accepted"),
            ({"stages__diffsim_{T}K__each": {"T": "288"}}, "each.T: '288' is not accepted; give a list"),
            ({"stages__diffsim_{T}K__parents": {"reference": "reference_{X}K"}}, "{X} is not one of its `each`"),
            ({"values__temperatures": [288, 288]}, "a second stage of the name 'reference_288K'"),
            ({"values__temperatures": ["warm water"]}, "'reference_warm waterK' is not accepted as a name"),
            ({"stages": {"1st": {"kind": "reference"}}}, "'1st' is not accepted as a name"),
            ({"stages": {"x" * 81: {"kind": "reference"}}}, "at most 80 letters"),
            ({"stages": {}}, "stages: empty; give at least 1"),
        ],
    )  # fmt: skip
    def test_in_one_line(self, load, changes, words):
        with pytest.raises(ConfigError, match=words) as caught:
            load(**changes)
        assert "small.yaml" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_stages_that_wait_for_each_other(self, load):
        # of the kinds there are, none can be its own ancestor but by a role that takes its kind
        with pytest.raises(ConfigError, match="is of kind validate; give a stage of kind ibi or"):
            load(
                **{"stages__validate_{T}K_at_{S}K__parents": {"potential": "validate_*", "reference": "reference_{S}K"}}
            )

    def test_an_unknown_preset(self, load):
        with pytest.raises(ConfigError, match=r"preset: 'fast' is not in .*; choose one of quick, slow"):
            load(preset="fast")

    def test_an_unknown_chain(self):
        with pytest.raises(ConfigError, match="wine: not a chain that comes with asediff; give water"):
            Chain.load("wine")

    def test_a_missing_file(self, tmp_path):
        with pytest.raises(ConfigError, match="no such file"):
            Chain.load(tmp_path / "none.yaml")

    def test_an_unknown_kind(self):
        with pytest.raises(StageError, match="kind: 'x' is unknown; choose one of reference, ibi"):
            stage("x")


class TestKeys:
    def test_the_same_again(self, load):
        assert keys_of(load()) == keys_of(load())
        assert all(re.fullmatch("[0-9a-f]{12}", key) for key in keys_of(load()).values())

    def test_a_setting_changes_its_stage_and_what_follows(self, load):
        before, after = keys_of(load()), keys_of(load(overrides={"diffsim_288K.method.epochs": 11}))
        changed = {name for name in before if before[name] != after[name]}
        assert changed == {"diffsim_288K", "validate_288K_at_288K", "validate_288K_at_388K", "transfer"}

    def test_a_default_that_is_written_out_changes_nothing(self, load):
        assert keys_of(load()) == keys_of(load(overrides={"diffsim.method.learning_rate": 2e-3}))

    def test_the_order_of_keys_changes_nothing(self, load):
        text = SMALL.replace(
            "{temperature_K: $T, molecules: $molecules, production_ps: $ps}",
            "{production_ps: $ps, molecules: $molecules, temperature_K: $T}",
        )
        assert keys_of(load(text)) == keys_of(load())

    def test_the_order_of_parents_counts(self, load):
        other = load(stages__diffsim_all__parents={"reference": ["reference_388K", "reference_288K"]})
        assert keys_of(other)["diffsim_all"] != keys_of(load())["diffsim_all"]

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_source_of_the_stage_and_its_input_count(self, kind, tmp_path, monkeypatch):
        chosen, edited = stage(kind), tmp_path / "edited"
        assert chosen.modules[0].endswith(kind)
        found = {keys.key_of(chosen, {}, {})}
        originals = {name: keys._source(name) for name in chosen.modules}
        originals |= {name: keys.lammps_input(name) for name in chosen.inputs}
        for name, path in originals.items():
            edited.write_bytes(path.read_bytes() + b"#")
            paths = {**originals, name: edited}
            monkeypatch.setattr(keys, "_source", paths.__getitem__)
            monkeypatch.setattr(keys, "lammps_input", paths.__getitem__)
            keys._version.cache_clear()
            found.add(keys.key_of(chosen, {}, {}))
        keys._version.cache_clear()
        assert len(found) == 1 + len(originals)


class TestWater:
    @pytest.mark.parametrize("preset", ["short", "standard", "paper"])
    def test_every_preset_makes_the_whole_matrix(self, preset):
        chain = Chain.load("water", preset=preset)
        kinds = [node.kind for node in chain.nodes]
        fits = [node.name for node in chain.nodes if node.kind in KINDS[1:5]]
        assert kinds.count("reference") == 3
        assert len(fits) == 13
        assert kinds.count("validate") == 3 * len(fits)
        assert "water" in chains_supplied()

    def test_what_it_takes_grows_with_the_preset(self):
        seconds = [
            sum(e.seconds for e in expectations(Chain.load("water", preset=p)).values())
            for p in ("short", "standard", "paper")
        ]
        assert seconds[0] < seconds[1] < seconds[2]
        assert seconds[0] < 2 * 12 * 60

    def test_the_plan_names_states_and_costs(self, tmp_path):
        chain = Chain.load("water")
        done, begun, failed = (tmp_path / chain.nodes[k].folder for k in range(3))
        for folder in (done, begun, failed):
            folder.mkdir()
            Record("reference", {}).write(folder)
        (done / RESULTS).touch()
        (failed / "error.txt").write_text("x")
        assert [state(folder) for folder in (done, begun, failed, tmp_path / "x")] == [
            "finished",
            "begun",
            "failed",
            "new",
        ]
        lines = plan_lines(chain, tmp_path, 2)
        assert chain.nodes[0].key in lines[1]
        assert "finished" in lines[1]
        assert "of one core" in lines[-1]
        assert len(lines) == len(chain.nodes) + 2


class TestResults:
    def test_round_trip(self, tmp_path):
        scalars = {"pressure_bar": -1.5, "md_steps": 7, "not_converged": True, "stopped": "so"}
        Results(scalars, {"r": [1.0, 2.0], "m": [[1, 2], [3, 4]]}, {"r": "Å", "m": "1"}).write(tmp_path)
        found = Results.load(tmp_path)
        assert found.scalars == scalars
        assert {name: type(value) for name, value in found.scalars.items()} == {n: type(v) for n, v in scalars.items()}
        assert found.arrays["m"].tolist() == [[1, 2], [3, 4]]
        assert found.units == {"r": "Å", "m": "1"}
        assert Results.finished(tmp_path)

    def test_an_array_without_a_unit(self):
        with pytest.raises(ValueError, match=r"units: .*\(r\); give a unit"):
            Results({}, {"r": [1.0]}, {})

    def test_what_is_not_there(self, tmp_path):
        assert not Results.finished(tmp_path)
        with pytest.raises(ResultsError, match="no such file; the stage has not finished"):
            Results.load(tmp_path)

    def test_what_is_damaged(self, tmp_path):
        (tmp_path / RESULTS).write_bytes(b"half a file")
        with pytest.raises(ResultsError, match=r"no results of a stage .*; remove it and run the stage again"):
            Results.load(tmp_path)


class TestRecords:
    def test_a_project_can_be_moved(self, tmp_path):
        for name in ("a", "b"):
            (tmp_path / "one" / name).mkdir(parents=True)
        Record("ibi", {"seed": 1}, {"reference": (tmp_path / "one/a",)}).write(tmp_path / "one/b")
        (tmp_path / "one").rename(tmp_path / "two")
        found = Record.load(tmp_path / "two/b")
        assert found.parents == {"reference": ((tmp_path / "two/a").resolve(),)}
        assert found.same(Record("ibi", {"seed": 1}))
        assert not found.same(Record("ibi", {"seed": 2}))

    def test_no_stage(self, tmp_path):
        with pytest.raises(StageError, match="holds no stage"):
            Record.load(tmp_path)
