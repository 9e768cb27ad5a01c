"""The fused kernels of the CPU as `dynamics.fused` calls them: tensors become numpy arrays of the same memory."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from asediff.kernels import arrays
from asediff.kernels.arrays import FusedCall
from asediff.kernels.cpu import backend as cpu

T = TypeVar("T")
SHORT = 200_000
"""Atoms times steps of a run that ends sooner than anybody misses an answer to Ctrl-C."""


def rollout(call: FusedCall, coefficients: Tensor, x: Tensor, v: Tensor, chain: Tensor) -> arrays.Rollout:
    """See `asediff.dynamics.fused.Backend.rollout`."""
    batch, tables, stepper = call.batch, call.tables, call.stepper
    masses = _array(batch.masses)
    run = partial(
        cpu.rollout,
        _array(x),
        _array(v),
        _array(chain),
        arrays.Batch(
            masses,
            _array(batch.offsets),
            _array(batch.cell),
            _array(batch.pbc),
            _array(batch.types).astype(np.int32),
            None if batch.exclusions is None else arrays.Exclusions(*(_array(a) for a in batch.exclusions)),
        ),
        tables._replace(coefficients=_array(coefficients), table_index=_array(tables.table_index).astype(np.int32)),
        stepper._replace(
            kT=_array(stepper.kT).astype(masses.dtype),
            n_dof=_array(stepper.n_dof),
            chain_masses=_array(stepper.chain_masses).astype(masses.dtype),
            friction=_array(stepper.friction).astype(masses.dtype),
            seeds=_array(stepper.seeds).astype(np.uint64),
        ),
        call.n_steps,
        call.save_every,
        snapshot_every=call.snapshot_every,
        skin=call.skin,
    )
    return _interruptible(run, len(x) * call.n_steps)


def outputs(run: arrays.Rollout) -> tuple[Tensor, ...]:
    """See `asediff.dynamics.fused.Backend.outputs`."""
    found = (run.frame_positions, run.frame_velocities, run.positions, run.velocities, run.chain, run.thermo)
    return tuple(torch.from_numpy(a) for a in found)


def rollout_vjp(call: FusedCall, run: arrays.Rollout, gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """See `asediff.dynamics.fused.Backend.rollout_vjp`."""
    loop = partial(cpu.rollout_vjp, run, *(_array(g) for g in gradients), mode=call.mode)
    result = _interruptible(loop, len(run.positions) * call.n_steps)
    return tuple(torch.from_numpy(a) for a in result)


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(tensor.detach().numpy())


def _interruptible(loop: Callable[[], T], work: int) -> T:
    """Run a compiled loop so that Ctrl-C is heard meanwhile.

    Python hears signals in its main thread alone, and not before a compiled call returns, which may take minutes. So
    the main thread waits while another one computes; after Ctrl-C that one goes on until the loop or the process ends.
    """
    if work < SHORT or threading.current_thread() is not threading.main_thread():
        return loop()
    results: list[T] = []
    failures: list[BaseException] = []
    ended = threading.Event()
    context = contextvars.copy_context()

    def compute() -> None:
        try:
            results.append(context.run(loop))
        except BaseException as failure:
            failures.append(failure)
        finally:
            ended.set()

    threading.Thread(target=compute, daemon=True).start()
    ended.wait()
    if failures:
        raise failures[0]
    return results[0]
