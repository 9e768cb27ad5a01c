"""Stages in processes of their own that need not import anything first, and are killed where they are told to."""

import importlib
import os
import signal
from multiprocessing.context import ForkServerProcess

from command_in_child import server

TINY = """
title: tiny
values: {temperatures: [288]}
stages:
  reference_{T}K:
    kind: reference
    each: {T: $temperatures}
    settings: {temperature_K: $T, molecules: 200, production_ps: 0.4, equilibration_ps: 0.1, every_ps: 0.02,
               bin_width_A: 0.1, r_max_A: 8.0}
  ibi:
    kind: ibi
    parents: {reference: reference_*}
    settings:
      bins: 60
      potential: {cutoff: 6.0}
      method: &run {iterations: 3, engine: {kind: torch, equilibration_steps: 50, steps: 400, save_every: 20}}
      validation: &validation {equilibration_steps: 50, steps: 200, save_every: 10}
  gauss_newton:
    kind: gauss_newton
    parents: {reference: reference_*}
    settings: {bins: 60, potential: {cutoff: 6.0}, method: *run, validation: *validation}
  reweighting:
    kind: reweighting
    parents: {reference: reference_*}
    settings:
      bins: 60
      potential: &potential {cutoff: 6.0, radial: {hidden: [8], n_basis: 12}}
      method: {<<: *run, inner_steps: 20, pretraining: {steps: 20}}
      validation: *validation
  diffsim:
    kind: diffsim
    parents: {reference: reference_*}
    settings:
      bins: 60
      potential: *potential
      method: {epochs: 4, steps: 20, equilibration_steps: 50, checkpoint_every: 1, pretraining: {steps: 20}}
      validation: *validation
  validate_{fit}:
    kind: validate
    each: {fit: [ibi, gauss_newton, reweighting, diffsim]}
    parents: {potential: "{fit}", reference: reference_288K}
    settings: {equilibration_ps: 0.2, production_ps: 1.0, every_ps: 0.04, r_max_A: 6.0}
  transfer: {kind: transfer, parents: {validations: validate_*}}
"""
"""Every kind of stage, each as short as it can be."""


def start(folder: str, stage: str = "") -> ForkServerProcess:
    """Begin the stage that a folder records, to be killed at the n-th call of the function `module:attribute@n`."""
    process = server().Process(target=_run, args=(str(folder), stage))
    process.start()
    return process


def _run(folder: str, stage: str) -> None:
    importlib.import_module("asediff.plotting").png = lambda ax: b"figures take longer than all the rest"
    if stage:
        _kill_at(stage)
    from asediff.workflow.stages.command import run_recorded

    run_recorded(folder)


def _kill_at(stage: str) -> None:
    place, _, count = stage.partition("@")
    module, _, path = place.partition(":")
    owner = importlib.import_module(module)
    *parents, last = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    original, calls = getattr(owner, last), []

    def replacement(*arguments: object, **options: object) -> object:
        calls.append(1)
        if len(calls) == int(count or 1):
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(owner, last, replacement)
