"""A fit divided among processes is the fit of one process."""

from __future__ import annotations

import itertools
import os
from dataclasses import replace

import pytest
import torch
from in_ranks import in_ranks

from asediff.engines import DiluteEngine, TorchEngine
from asediff.fitting import IBI, DiffSim, Reweighting, fit
from asediff.fitting.api import CHECKPOINT
from asediff.fitting.gradients.reweighting import ReweightedGradient
from asediff.fitting.gradients.share import division
from asediff.host.folders import ResultFolder
from asediff.host.locks import InUseError
from asediff.host.ranks import VARIABLES, LostError, Ranks
from asediff.observables import RDF
from asediff.simulate import InstabilityError
from asediff.targets.target import Target

from .many_body import CUTOFF, fluid
from .rank_cases import CASES, OTHER, PAIRS, learn, learn_all, lennard_jones, method, outcome


@pytest.fixture(scope="module")
def divided(tmp_path_factory):
    """All cases in two processes."""
    return in_ranks(2, learn_all, folder=tmp_path_factory.mktemp("two"))


class TestTheSameFit:
    @pytest.mark.parametrize("case", PAIRS)
    def test_of_pairs_bit_for_bit(self, divided, case):
        alone = learn(case)
        for told in divided:
            assert told[case]["history"] == alone["history"]
            assert told[case]["notes"] == alone["notes"]
            assert told[case]["stopped"] == alone["stopped"]
            for name, value in alone["potential"].items():
                assert torch.equal(told[case]["potential"][name], value)

    @pytest.mark.parametrize("case", OTHER)
    def test_of_anything_else_to_round_off(self, divided, case):
        alone = learn(case)
        for told in divided:
            for ours, theirs in zip(told[case]["history"], alone["history"], strict=True):
                assert ours == pytest.approx(theirs, rel=1e-10)
            for name, value in alone["potential"].items():
                torch.testing.assert_close(told[case]["potential"][name], value, rtol=1e-10, atol=1e-12)

    @pytest.mark.parametrize("case", CASES)
    def test_in_every_process(self, divided, case):
        first, second = (told[case] for told in divided)
        assert first["history"] == second["history"]
        assert all(torch.equal(value, second["potential"][name]) for name, value in first["potential"].items())

    @pytest.mark.parametrize("case", CASES)
    def test_that_changes_something(self, divided, case):
        begun = dict(CASES[case]()[0].state_dict())
        assert any(not torch.equal(begun[name], value) for name, value in divided[0][case]["potential"].items())


def learn_longer(ranks, folder):
    """Two fits that go on: one that a process alone began, and one that goes on in a process alone."""
    potential, points, how = CASES["noise"]()
    first = fit(
        potential, points, replace(how, epochs=5), validation=None, folder=f"{folder}/theirs", resume=True,
        progress=False, seed=3, ranks=ranks,
    )  # fmt: skip
    fit(potential, points, how, validation=None, folder=f"{folder}/ours", progress=False, seed=3, ranks=ranks)
    return outcome(first)


def test_a_checkpoint_is_gone_on_with_by_any_number_of_processes(tmp_path):
    potential, points, how = CASES["noise"]()
    given = {"validation": None, "progress": False, "seed": 3}
    longer = replace(how, epochs=5)
    whole = outcome(fit(potential, points, longer, **given))
    fit(potential, points, how, folder=tmp_path / "theirs", **given)
    told = in_ranks(3, learn_longer, str(tmp_path), folder=tmp_path / "ranks")
    after = outcome(fit(potential, points, longer, folder=tmp_path / "ours", resume=True, **given))
    saved = [torch.load(tmp_path / name / CHECKPOINT, weights_only=True) for name in ("ours", "theirs")]
    for name in ("positions", "velocities"):
        assert torch.equal(*(one[name] for one in saved))
    for one in (*told, after):
        assert one["history"] == whole["history"]
        assert all(torch.equal(one["potential"][name], value) for name, value in whole["potential"].items())
    assert sorted(p.name for p in (tmp_path / "theirs").iterdir()) == [".asediff", CHECKPOINT]


def learn_with_validation(ranks):
    engine = TorchEngine(0.004, equilibration_steps=10, steps=20, save_every=10)
    result = fit(
        lennard_jones(), fluid(), method(replicas=2), validation=engine, progress=False, seed=3, ranks=ranks
    )  # fmt: skip
    return len(result.measurements)


class Unlike(RDF):
    """A g(r) that one process cannot evaluate, ends in, or finds to blow up in its second epoch."""

    def per_frame(self, trajectory):
        seen = super().per_frame(trajectory)
        if Ranks.of_group().rank == 1 and self.bins in TROUBLE:
            object.__setattr__(self, "calls", getattr(self, "calls", 0) + 1)
            TROUBLE[self.bins](self.calls)
        return seen


def _refuse(_):
    raise ValueError("spread: 3 is too wide; give less")


def _blow_up(call):
    if call == 2:
        raise InstabilityError(0.004)


TROUBLE = {11: _refuse, 12: lambda _: os._exit(3), 13: _blow_up}


def learn_in_trouble(ranks, bins):
    target = Target(Unlike(CUTOFF, bins), torch.ones(bins))
    return outcome(
        fit(lennard_jones(), fluid(target=target), method(replicas=2), validation=None, progress=False, ranks=ranks)
    )


class TestTrouble:
    def test_an_error_of_one_process_is_that_of_all(self, tmp_path):
        told = in_ranks(2, learn_in_trouble, 11, folder=tmp_path)
        assert [str(error) for error in told] == ["spread: 3 is too wide; give less"] * 2
        assert [type(error) for error in told] == [ValueError] * 2

    def test_a_process_that_ends_leaves_no_other_waiting(self, tmp_path):
        lost, gone = in_ranks(2, learn_in_trouble, 12, folder=tmp_path)
        assert gone == "EXIT 3"
        assert isinstance(lost, LostError)
        assert str(lost).startswith("ranks: another process has ended, or cannot be reached (")
        assert "\n" not in str(lost)

    def test_a_blow_up_in_one_process_sets_all_back(self, tmp_path):
        first, second = in_ranks(2, learn_in_trouble, 13, folder=tmp_path)
        assert any("blew up" in note and "back to the last good state" in note for note in first["notes"])
        assert first["notes"] == second["notes"]
        assert first["history"] == second["history"]
        assert len(first["history"]) == 3

    def test_a_folder_in_use_is_told_by_all(self, tmp_path):
        with ResultFolder.opened(tmp_path / "fit", "fit"):
            told = in_ranks(2, learn_in_folder, str(tmp_path / "fit"), folder=tmp_path / "ranks")
        assert [type(error) for error in told] == [InUseError] * 2
        assert len({str(error) for error in told}) == 1
        assert f"in use by process {os.getpid()}" in str(told[0])


def learn_in_folder(ranks, path):
    return learn("replicas", folder=path, ranks=ranks)


def learn_unlike(ranks, what):
    seed, kT = (ranks.rank if what == "seed" else 0), (1.0 + 0.1 * ranks.rank if what == "point" else 1.0)
    how = method(replicas=2, learning_rate=1e-3 * (1 + ranks.rank) if what == "method" else 1e-3)
    fit(lennard_jones(), fluid(kT=kT), how, validation=None, seed=seed, progress=False, ranks=ranks)


def refused(ranks):
    """What is refused of two processes, and how many runs validate."""
    told = []
    for how in (
        IBI(DiluteEngine(), 2),
        Reweighting(TorchEngine(0.004, 10, 20, 10)),
        method(gradient=ReweightedGradient(), replicas=2),
        method(),
    ):
        try:
            fit(lennard_jones(), fluid(), how, validation=None, progress=False, ranks=ranks)
        except ValueError as error:
            told.append(str(error))
    for what in ("seed", "method", "point"):
        try:
            learn_unlike(ranks, what)
        except ValueError as error:
            told.append(str(error))
    return told, learn_with_validation(ranks)


def test_what_cannot_be_divided_is_refused_by_name_in_every_process(tmp_path):
    told = in_ranks(2, refused, folder=tmp_path)
    lines = [
        "ranks: IBI cannot be divided over 2 processes; give DiffSim, or run one process",
        "ranks: Reweighting cannot be divided over 2 processes; give DiffSim, or run one process",
        "ranks: 2 processes, and DiffSim(gradient=ReweightedGradient()) needs all frames in one; give an adjoint, or "
        "run one process",
        "ranks: 2 is more than the number of systems (state points x replicas), 1; run at most that many processes, or "
        "give more replicas",
        *["ranks: process 1 was given another method, seed or state point than process 0; give all the same"] * 3,
    ]
    assert [lines_of for lines_of, _ in told] == [lines, lines]
    assert [runs for _, runs in told] == [1, 0]  # the independent runs are the first's


def test_without_a_group_there_are_no_ranks(monkeypatch):
    with pytest.raises(ValueError, match=r"ranks: torch.distributed has no group of processes; use Ranks.joined\(\)"):
        Ranks.of_group()
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with Ranks.joined() as ranks:
        assert (ranks.rank, ranks.size) == (0, 1)
        assert ranks.exchange(lambda: 3) == [3]
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="ranks: RANK is not in the environment; start the script with torchrun"):
        Ranks.joined().__enter__()


class TestDivision:
    @pytest.mark.parametrize("size", [1, 2, 3, 5])
    def test_the_largest_share_is_as_small_as_can_be(self, size):
        generator = torch.Generator().manual_seed(size)
        for _ in range(30):
            costs = torch.randint(1, 30, (7,), generator=generator).tolist()
            parts = division(costs, size)
            assert [k for part in parts for k in part] == list(range(7))
            assert len(parts) == size
            assert all(len(part) for part in parts)
            cuts = itertools.combinations(range(1, 7), size - 1)
            best = min(max(sum(costs[a:b]) for a, b in itertools.pairwise((0, *cut, 7))) for cut in cuts)
            assert max(sum(costs[k] for k in part) for part in parts) == best

    def test_equal_systems_are_divided_evenly(self):
        assert [len(part) for part in division([256] * 8, 2)] == [4, 4]
        assert [len(part) for part in division([256] * 3, 2)] == [2, 1]


def test_noise_is_that_of_the_system_wherever_it_runs():
    """Also where seeds begin anew at zero."""
    from asediff.dynamics import Langevin
    from asediff.system import System

    system = fluid().system
    three = System.concatenate([system] * 3)
    for seed in (5, 2**62 - 2):
        whole = Langevin(0.004, kT=1.0, seed=seed).stepper(three)._kick(7)
        for k in range(3):
            own = Langevin(0.004, kT=1.0, seed=seed).of_part(k).stepper(system)._kick(7)
            assert torch.equal(own, whole[32 * k : 32 * (k + 1)])


def test_a_method_of_ones_own_is_not_divided():
    with pytest.raises(ValueError, match="ranks: IBI cannot be divided over 4 processes"):
        IBI(DiluteEngine(), 2).check_ranks(4, [fluid()])
    DiffSim(0.004, replicas=4).check_ranks(4, [fluid()])
