"""Stages that take milliseconds, go on from a checkpoint and fail when told to, in the place of the real ones.

Children get them by `toys/sitecustomize.py` on PYTHONPATH. The environment says what they do: TOY_STEPS, TOY_DELAY
(seconds for each step), and, as kinds with blanks between, TOY_SLOW (those that take so long; all by default), TOY_FAIL
and TOY_NOT_CONVERGED.
"""

import dataclasses
import importlib
import json
import os
import time
from pathlib import Path

import numpy as np

from asediff.host.files import write_whole
from asediff.workflow.chain import Chain
from asediff.workflow.results import Results
from asediff.workflow.stages import KINDS

CHAIN = """
title: toys
values: {temperatures: TEMPERATURES}
stages:
  reference_{T}K: {kind: reference, each: {T: $temperatures}, settings: {temperature_K: $T}}
  ibi_{T}K: {kind: ibi, each: {T: $temperatures}, parents: {reference: "reference_{T}K"}}
  test_{T}K_at_{S}K:
    kind: validate
    each: {T: $temperatures, S: $temperatures}
    parents: {potential: "ibi_{T}K", reference: "reference_{S}K"}
  transfer: {kind: transfer, parents: {validations: test_*}}
"""
STEPS = 4


def chain(folder, temperatures=(288, 338), **overrides):
    """The chain of toys; its file, `toys.yaml`, is what clients read."""
    path = Path(folder, "toys.yaml")
    path.write_text(CHAIN.replace("TEMPERATURES", str(list(temperatures))))
    return Chain.load(path, overrides=overrides)


def install(replace=setattr):
    """Put toys in the place of all stages."""
    for kind in KINDS:
        module = importlib.import_module(f"asediff.workflow.stages.{kind}")
        replace(module, "STAGE", dataclasses.replace(module.STAGE, run=lambda work, kind=kind: run(work, kind)))


def run(work, kind):
    """Steps of the logistic map, from the mean of the parents' numbers."""
    told = {name: os.environ.get(f"TOY_{name}", "").split() for name in ("FAIL", "NOT_CONVERGED")}
    with (work.folder / "cores.txt").open("a") as file:
        file.write(f"{work.cores}\n")
    if kind in told["FAIL"]:
        raise RuntimeError(f"{kind}: toys of this kind fail; unset TOY_FAIL")
    given = [Results.load(folder).scalars["x"] for role in sorted(work.parents) for folder in work.parents[role]]
    x = float(np.mean(given)) if given else work.settings.temperature_K / 500
    checkpoint = work.folder / "toy.json"
    step, x = json.loads(checkpoint.read_text()) if checkpoint.is_file() else (0, x)
    while step < int(os.environ.get("TOY_STEPS", STEPS)):
        step, x = step + 1, 3.7 * x * (1.0 - x)
        write_whole(checkpoint, json.dumps([step, x]).encode())
        with (work.folder / "steps.txt").open("a") as file:
            file.write(f"{step}\n")
        if kind in os.environ.get("TOY_SLOW", kind).split():
            time.sleep(float(os.environ.get("TOY_DELAY", 0)))
    return Results(
        {"x": x, "md_steps": step, "D": x / 10, "not_converged": kind in told["NOT_CONVERGED"]},
        {"g": x * np.arange(3.0)},
        {"g": "1"},
    )


def steps_of(folder):
    """The steps that a toy has taken, over all its starts."""
    path = Path(folder, "steps.txt")
    return [int(line) for line in path.read_text().split()] if path.is_file() else []


def same(first, second):
    """Assert that two chains have the same numbers, bit for bit."""
    assert first.keys() == second.keys()
    for name in first:
        one, other = first[name], second[name]
        assert {**one.scalars, "seconds": 0} == {**other.scalars, "seconds": 0}, name
        assert one.units == other.units
        for key, array in one.arrays.items():
            np.testing.assert_array_equal(array, other.arrays[key], strict=True)
