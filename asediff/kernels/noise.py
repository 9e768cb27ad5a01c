"""Counter-based Gaussian noise: the same numbers from torch and from the compiled loops, in any order of atoms.

Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC'11, doi:10.1145/2063384.2063405) maps a key (the seed of a system) and
a counter (atom, step) to four 32-bit words w, each made a uniform number u = (w + 1/2) 2^-32 in (0, 1); Box-Muller
turns the four into three normal numbers. Nothing is stored, so a reverse pass draws the noise of any step again.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import njit
from torch import Tensor

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_INCREMENTS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
WORD = 0xFFFFFFFF
UNIT = 2.0**-32


def _multiply(constant: int, word: Tensor) -> tuple[Tensor, Tensor]:
    """High and low 32 bits of a 64-bit product, without leaving signed 64-bit integers."""
    low, high = constant * (word & 0xFFFF), constant * (word >> 16)
    return (high + (low >> 16)) >> 16, (low + ((high & 0xFFFF) << 16)) & WORD


def philox_words(key: tuple[Tensor, Tensor], counter: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Philox4x32-10 on int64 tensors that hold 32-bit words.

    Args:
        key: two words, any shapes that broadcast.
        counter: four words.

    Returns:
        Four words.
    """
    k0, k1 = key
    c0, c1, c2, c3 = counter
    for _ in range(ROUNDS):
        high0, low0 = _multiply(MULTIPLIERS[0], c0)
        high1, low1 = _multiply(MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + KEY_INCREMENTS[0]) & WORD, (k1 + KEY_INCREMENTS[1]) & WORD
    return c0, c1, c2, c3


def philox_normal(seeds: Tensor, system_idx: Tensor, atom_in_system: Tensor, step: int) -> Tensor:
    """Three independent standard normal numbers for each atom at one step.

    Args:
        seeds: `(n_systems,)` int64, one 64-bit seed per system.
        system_idx: `(n_atoms,)` int64, the system of each atom.
        atom_in_system: `(n_atoms,)` int64, the index of each atom within its system.
        step: number of the step, counted from the start of the run.

    Returns:
        `(n_atoms, 3)` float64.
    """
    seed = seeds[system_idx]
    atom = atom_in_system & WORD
    zero = torch.zeros_like(atom)
    words = philox_words((seed & WORD, (seed >> 32) & WORD), (atom, zero + (step & WORD), zero + (step >> 32), zero))
    u0, u1, u2, u3 = ((word.to(torch.float64) + 0.5) * UNIT for word in words)
    radius, other = torch.sqrt(-2.0 * torch.log(u0)), torch.sqrt(-2.0 * torch.log(u2))
    angle, angle_z = 2.0 * math.pi * u1, 2.0 * math.pi * u3
    return torch.stack([radius * torch.cos(angle), radius * torch.sin(angle), other * torch.cos(angle_z)], dim=-1)


_MULTIPLIER_0, _MULTIPLIER_1 = (np.uint64(m) for m in MULTIPLIERS)
_INCREMENT_0, _INCREMENT_1 = (np.uint64(i) for i in KEY_INCREMENTS)
_WORD, _HALF = np.uint64(WORD), np.uint64(32)


@njit(nogil=True, error_model="numpy")
def philox_normal_scalar(seed: np.uint64, atom: np.uint64, step: np.uint64) -> tuple[float, float, float]:
    """The three numbers of `philox_normal` for one atom, for use in compiled loops.

    Args:
        seed: of the atom's system.
        atom: index within the system.
        step: number of the step.
    """
    k0, k1 = seed & _WORD, seed >> _HALF
    c0, c1, c2, c3 = atom & _WORD, step & _WORD, step >> _HALF, np.uint64(0)
    for _ in range(ROUNDS):
        product0 = _MULTIPLIER_0 * c0
        product1 = _MULTIPLIER_1 * c2
        c0, c1, c2, c3 = (
            (product1 >> _HALF) ^ c1 ^ k0,
            product1 & _WORD,
            (product0 >> _HALF) ^ c3 ^ k1,
            product0 & _WORD,
        )
        k0, k1 = (k0 + _INCREMENT_0) & _WORD, (k1 + _INCREMENT_1) & _WORD
    radius = math.sqrt(-2.0 * math.log((c0 + 0.5) * UNIT))
    other = math.sqrt(-2.0 * math.log((c2 + 0.5) * UNIT))
    angle = 2.0 * math.pi * ((c1 + 0.5) * UNIT)
    angle_z = 2.0 * math.pi * ((c3 + 0.5) * UNIT)
    return radius * math.cos(angle), radius * math.sin(angle), other * math.cos(angle_z)
