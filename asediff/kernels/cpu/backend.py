"""The kernels of the CPU as `asediff.kernels.backend` calls them: tensors become numpy arrays of the same memory."""

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
from asediff.kernels.cpu import descent, static
from asediff.kernels.cpu import rollout as forward
from asediff.kernels.cpu.rdf import pair_histograms, smeared_counts
from asediff.kernels.cpu.team import get_num_threads, set_num_threads

__all__ = [
    "get_num_threads", "outputs", "pair_forces", "pair_histograms", "pair_vjp", "rollout", "rollout_vjp",
    "set_num_threads", "smeared_counts",
]  # fmt: skip

T = TypeVar("T")
SHORT = 200_000
"""Atoms times steps of a run that ends sooner than anybody misses an answer to Ctrl-C."""


def rollout(call: FusedCall, coefficients: Tensor, x: Tensor, v: Tensor, chain: Tensor) -> arrays.Rollout:
    """See `asediff.kernels.backend.Backend`."""
    batch, tables = _arrays(call.batch, call.tables._replace(coefficients=coefficients))
    run = partial(
        forward.rollout,
        _array(x),
        _array(v),
        _array(chain),
        batch,
        tables,
        stepper_arrays(call.stepper, batch.masses.dtype),
        call.n_steps,
        call.save_every,
        snapshot_every=call.snapshot_every,
        skin=call.skin,
    )
    return _interruptible(run, len(x) * call.n_steps)


def stepper_arrays(stepper: arrays.Stepper, dtype: np.dtype) -> arrays.Stepper:
    """The integrator in numpy arrays, as the compiled functions take it."""
    return stepper._replace(
        kT=_array(stepper.kT).astype(dtype),
        n_dof=_array(stepper.n_dof),
        chain_masses=_array(stepper.chain_masses).astype(dtype),
        friction=_array(stepper.friction).astype(dtype),
        seeds=_array(stepper.seeds).astype(np.uint64),
    )


def outputs(run: arrays.Rollout) -> tuple[Tensor, ...]:
    """See `asediff.kernels.backend.Backend`."""
    found = (run.frame_positions, run.frame_velocities, run.positions, run.velocities, run.chain, run.thermo)
    return tuple(torch.from_numpy(a) for a in found)


def rollout_vjp(call: FusedCall, run: arrays.Rollout, gradients: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """See `asediff.kernels.backend.Backend`."""
    loop = partial(descent.rollout_vjp, run, *(_array(g) for g in gradients), mode=call.mode)
    result = _interruptible(loop, len(run.positions) * call.n_steps)
    return tuple(torch.from_numpy(a) for a in result)


def pair_forces(positions: Tensor, batch: arrays.Batch, tables: arrays.SplineTables) -> arrays.PairForces:
    """See `asediff.kernels.backend.Backend`."""
    return arrays.PairForces(*map(torch.from_numpy, static.pair_forces(_array(positions), *_arrays(batch, tables))))


def pair_vjp(
    positions: Tensor, batch: arrays.Batch, tables: arrays.SplineTables, w_forces: Tensor
) -> tuple[Tensor, Tensor]:
    """See `asediff.kernels.backend.Backend`."""
    by_x, by_coefficients = static.pair_vjp(_array(positions), *_arrays(batch, tables), _array(w_forces))
    return torch.from_numpy(by_x), torch.from_numpy(by_coefficients)


def _array(tensor: Tensor) -> np.ndarray[Any, Any]:
    return np.ascontiguousarray(tensor.detach().numpy())


def _arrays(batch: arrays.Batch, tables: arrays.SplineTables) -> tuple[arrays.Batch, arrays.SplineTables]:
    masses, offsets, cell, pbc, types = (_array(tensor) for tensor in batch[:5])
    coefficients, index = _array(tables.coefficients), _array(tables.table_index).astype(np.int32)
    return (
        arrays.Batch(masses, offsets, cell, pbc, types.astype(np.int32), batch.exclusions),
        tables._replace(coefficients=coefficients, table_index=index),
    )


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
