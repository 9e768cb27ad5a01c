"""Steps are kept, shortened and taken back."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from asediff.engines import DiluteEngine
from asediff.fitting import GaussNewton, fit
from asediff.fitting.steps import Steps

from .closed_form import dilute_point, inside, lennard_jones, shallower


class Two(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.values = torch.nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.register_buffer("count", torch.tensor(3))

    def move(self, *by):
        with torch.no_grad():
            self.values += torch.tensor(by, dtype=torch.float64)


def test_half_of_a_bad_step_is_left_and_the_next_are_shorter():
    moving = Two()
    steps = Steps(moving)
    assert steps.keep(1.0, 0.01)
    steps.begin()
    moving.move(4.0, -2.0)
    assert not steps.keep(2.0, 0.01)
    assert moving.values.tolist() == [2.0, -1.0]
    assert not steps.keep(1.6, 0.01)
    assert moving.values.tolist() == [1.0, -0.5]
    assert steps.caution == 0.25
    assert steps.keep(0.5, 0.01)
    assert steps.caution == 0.375
    assert int(moving.count) == 3


@pytest.mark.parametrize(("deviation", "noise"), [(1.4, 0.0), (2.0, 0.4), (float("nan"), 0.0)])
def test_noise_and_small_changes_take_nothing_back(deviation, noise):
    steps = Steps(Two())
    assert steps.keep(1.0, 0.0)
    steps.begin()
    assert steps.keep(deviation, noise)


def test_state_is_restored():
    moving = Two()
    steps = Steps(moving)
    steps.keep(1.0, 0.01)
    steps.begin()
    moving.move(1.0, 1.0)
    again = Steps(moving)
    again.load(steps.state())
    assert not again.keep(9.0, 0.01)
    assert moving.values.tolist() == [0.5, 0.5]


def test_without_a_step_there_is_nothing_to_shorten():
    with pytest.raises(ValueError, match="begin"):
        Steps(Two()).shorten(0.5)


def test_a_fit_recovers_from_steps_that_are_too_long():
    point = dilute_point(lennard_jones())
    method = GaussNewton(DiluteEngine(), 12, step_size=4.0, trust_radius=50.0, prior_frames_per_row=0)
    result = fit(shallower(lennard_jones()), point, method, validation=None, progress=False)
    taken_back = [row for row in result.history if row.get("taken_back")]
    assert taken_back
    assert sum("half of the last step" in note for note in result.notes) == len(taken_back)
    assert result.history[-1]["D"] < 0.1 * result.history[0]["D"]
    assert inside(result.potential, point, low=0.95) < 0.1
    # a wanted pressure may need a larger D
    wanted = dataclasses.replace(point, pressure=0.5)
    free = fit(shallower(lennard_jones()), wanted, method, validation=None, progress=False)
    assert not any(row.get("taken_back") for row in free.history)
