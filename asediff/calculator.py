"""asediff's potentials as an ASE calculator."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, Calculator, InputError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress
from torch import Tensor

from asediff.neighbors import NeighborList, Neighbors
from asediff.potentials.base import Potential, SumPotential, compiled_terms
from asediff.potentials.fingerprint import Fingerprint
from asediff.potentials.io import describe_potential
from asediff.potentials.splines import PairSpline
from asediff.system import System, resolve_kT
from asediff.topology import Topology, same_in

_NAMES = ("kT", "temperature_K", "skin", "device", "dtype")


class AsediffCalculator(Calculator):
    """Energies, forces and stresses of a potential for `ase.Atoms`.

    Positions are in Å and energies in eV if the potential is; nothing is converted but `temperature_K`. Pair
    potentials are tabulated once and evaluated from their splines, as in dynamics; other potentials are
    differentiated by autograd. The neighbor list is kept between calls until an atom has moved by half the skin.
    A potential whose parameters have been changed, by a fit for example, gives new results.

    `energies` are there for pair potentials: half of each pair's energy belongs to each of its atoms. `stress` is
    there for cells with three lattice vectors, in eV/Å^3 with ASE's sign: positive under tension.

    Args:
        potential: The potential; it is moved to the device.
        temperature_K: Temperature in kelvin, for potentials that depend on it and are in eV.
        kT: Thermal energy instead of temperature_K.
        skin: How far the neighbor list reaches beyond the cutoff, length; 0.12 cutoff if not given.
        device: Device of the calculation.
        dtype: Floating-point type of the calculation, `torch.float64` or `torch.float32`.

    Raises:
        InputError: If an argument is unknown or makes no sense, and from calculations for atoms that the potential
            cannot treat: an unknown species, or a cell shorter than twice the cutoff.

    Example:
        >>> from ase.build import bulk
        >>> from asediff.potentials import LennardJones, PairPotential
        >>> atoms = bulk("Ar", cubic=True) * 4
        >>> atoms.calc = AsediffCalculator(PairPotential(LennardJones(0.0104, 3.40), cutoff=8.5))
        >>> round(atoms.get_potential_energy() / len(atoms), 3)
        -0.082
    """

    implemented_properties = ["energy", "free_energy", "energies", "forces", "stress"]  # noqa: RUF012
    discard_results_on_any_change = True

    def __init__(
        self,
        potential: Potential,
        *,
        temperature_K: float | None = None,
        kT: float | None = None,
        skin: float | None = None,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype = torch.float64,
    ) -> None:
        if not isinstance(potential, Potential):
            raise InputError(f"potential: a {type(potential).__name__}; give an asediff Potential")
        if kT is not None and temperature_K is not None:
            raise InputError("kT, temperature_K: both are given; give at most one of the two")
        self.potential = potential
        self._lock = _Lock()
        if potential.split()[1]:
            self.implemented_properties = [name for name in type(self).implemented_properties if name != "energies"]
        super().__init__(kT=kT, temperature_K=temperature_K, skin=skin, device=device, dtype=dtype)

    def set(self, **changes: Any) -> dict[str, Any]:
        """Change kT, temperature_K, skin, device or dtype; the next property is calculated anew.

        Setting one of kT and temperature_K unsets the other.

        Raises:
            InputError: If a name is unknown or a value makes no sense.
        """
        for name in changes:
            if name not in _NAMES:
                raise InputError(f"{name}: not a parameter; the parameters are {', '.join(_NAMES)}")
        values = {"kT": None, "temperature_K": None, "skin": None} | dict(self.parameters) | changes
        if changes.get("kT") is not None:
            values["temperature_K"] = changes.get("temperature_K")
        elif changes.get("temperature_K") is not None:
            values["kT"] = None
        dtype = values["dtype"]
        dtype = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
        if dtype not in (torch.float64, torch.float32):
            raise InputError(f"dtype: {values['dtype']} is not offered; give torch.float64 or torch.float32")
        try:
            device = torch.device(values["device"])
            given = values["kT"] is not None or values["temperature_K"] is not None
            thermal = resolve_kT(kT=values["kT"], temperature_K=values["temperature_K"]) if given else None
            neighbor_list = NeighborList(self.potential.cutoff, values["skin"])
            self.potential.to(device=device)
        except (ValueError, RuntimeError) as error:
            raise InputError(str(error)) from error
        self._dtype, self._device = dtype, device
        self._kT = None if thermal is None else torch.full((1,), float(thermal), dtype=dtype, device=device)
        self._neighbor_list = neighbor_list
        self._system: System | None = None
        self._splines: list[PairSpline] | None = None
        self._fingerprint: Fingerprint | None = None
        values |= {"skin": neighbor_list.skin, "device": str(device), "dtype": str(dtype).removeprefix("torch.")}
        values |= {"potential": _described(self.potential), "cutoff": self.potential.cutoff}
        return super().set(**values)

    def check_state(self, atoms: Atoms, tol: float = 1e-15) -> list[str]:
        """Return what has changed since the last calculation; everything if the potential or the topology has."""
        if self._fingerprint is not None and not self._fingerprint.fits(self.potential):
            return list(all_changes)
        if self.atoms is not None and not same_in(atoms, self.atoms):
            return list(all_changes)
        return super().check_state(atoms, tol=tol)

    def get_property(self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True) -> Any:  # noqa: FBT001, FBT002
        """One property of atoms (see ASE); threads that share the calculator are served one after the other."""
        with self._lock:
            return super().get_property(name, atoms, allow_calculation)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] = ("energy",),
        system_changes: Sequence[str] = tuple(all_changes),
    ) -> None:
        """Calculate all properties; ASE calls this when something has changed.

        Raises:
            InputError: If the potential cannot treat the atoms; the message names the remedy.
            CalculationFailed: If the energy or a force is not finite.
        """
        with self._lock:
            super().calculate(atoms, properties, system_changes)
            self._calculate(system_changes)

    def _calculate(self, system_changes: Sequence[str]) -> None:
        if self.atoms is None:
            raise InputError("atoms: missing; give calculate() atoms, or set atoms.calc and ask the atoms")
        try:
            self._refresh(self.atoms, system_changes)
            assert self._system is not None
            neighbors = self._neighbor_list.update(self._system)
            if self._splines is not None:
                results = _pair_results(self._splines, self._system, neighbors)
            else:
                results = _autograd_results(self.potential, self._system, neighbors, self._kT)
                # what a module notes down of its own evaluation is no change
                self._fingerprint = Fingerprint.of(self.potential)
        except ValueError as error:
            raise InputError(str(error)) from error
        energy, forces = float(results["energy"]), results["forces"].double().cpu().numpy()
        if not (np.isfinite(energy) and np.isfinite(forces).all()):
            raise CalculationFailed(
                f"energy: {energy} and a largest force of {np.abs(forces).max()} are not both finite; "
                "start without overlapping atoms, use a shorter timestep or check the potential"
            )
        self.results = {"energy": energy, "free_energy": energy, "forces": forces}
        if "energies" in results:
            self.results["energies"] = results["energies"].double().cpu().numpy()
        if self.atoms.cell.rank == 3:
            virial = results["strain_derivative"].double().cpu().numpy()
            self.results["stress"] = full_3x3_to_voigt_6_stress(virial) / self.atoms.get_volume()

    def _refresh(self, atoms: Atoms, system_changes: Sequence[str]) -> None:
        same_atoms = not {"numbers", "pbc"} & set(system_changes)
        known = self._fingerprint is not None and self._fingerprint.fits(self.potential)
        if self._system is None or not same_atoms or not known:
            still = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
            topology = Topology.from_atoms(atoms)
            self._system = System.from_atoms(still, dtype=self._dtype, device=self._device).replace(
                topology=None if topology is None else topology.to(self._device)
            )
            self._splines = _splines(self.potential, self._system, self._kT)
            self._fingerprint = Fingerprint.of(self.potential)
            self.parameters["potential"] = _described(self.potential)
            return
        changes = {"positions": atoms.positions}
        if "cell" in system_changes:
            changes["cell"] = atoms.cell.array[None]
        self._system = self._system.replace(
            **{
                name: torch.as_tensor(value, dtype=self._dtype, device=self._device).clone()
                for name, value in changes.items()
            }
        )


class _Lock:
    """A lock that a thread may take again; a copy of it is another lock, so that what holds one can be copied."""

    def __init__(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type[_Lock], tuple[()]]:
        return _Lock, ()


def _described(potential: Potential) -> dict[str, Any]:
    """A potential as plain data for ASE's databases: its kind and settings, not its trained values."""
    if isinstance(potential, SumPotential):
        return {"kind": "SumPotential", "terms": [_described(term) for term in potential.terms]}  # type: ignore[arg-type]
    kind = {"kind": type(potential).__name__}
    if not potential.is_pairwise:
        return kind
    try:
        description = describe_potential(potential)
    except ValueError:
        return kind
    return kind | {name: value for name, value in description.items() if name != "state"}


@torch.no_grad()
def _splines(potential: Potential, system: System, kT: Tensor | None) -> list[PairSpline] | None:
    """The tables of a sum of pair potentials, None for other potentials."""
    tables, others = compiled_terms(potential, system, kT)
    return None if others else [table.to(dtype=system.dtype) for table in tables]


@torch.no_grad()
def _pair_results(splines: Sequence[PairSpline], system: System, neighbors: Neighbors) -> dict[str, Tensor]:
    """Energy, energies, forces and dE/d(strain) of one system from its splines."""
    forces = torch.zeros_like(system.positions)
    energies = torch.zeros_like(system.positions[:, 0])
    strain_derivative = torch.zeros_like(system.cell[0])
    for spline in splines:
        displacement, u, slope, _ = spline.weighted_pairs(system, neighbors)
        # With s = |d|^2 the gradient in the second atom's position is 2 u'(s) d, and d -> d (1 + strain) gives
        # dE/d(strain) = sum 2 u'(s) d d^T.
        gradient = 2.0 * slope[:, None] * displacement
        forces.index_add_(0, neighbors.first, gradient).index_add_(0, neighbors.second, -gradient)
        energies.index_add_(0, neighbors.first, 0.5 * u).index_add_(0, neighbors.second, 0.5 * u)
        strain_derivative += displacement.T @ gradient
    return {
        "energy": energies.sum(),
        "energies": energies,
        "forces": forces,
        "strain_derivative": strain_derivative,
    }


def _autograd_results(
    potential: Potential, system: System, neighbors: Neighbors, kT: Tensor | None
) -> dict[str, Tensor]:
    """Energy, forces and dE/d(strain) of one system; the symmetric strain acts on positions and cell."""
    with torch.enable_grad():
        positions = system.positions.detach().requires_grad_()
        strain = torch.zeros_like(system.cell[0]).requires_grad_()
        symmetric = 0.5 * (strain + strain.T)
        strained = system.replace(
            positions=positions + positions @ symmetric, cell=system.cell + system.cell @ symmetric
        )
        energy = potential.energy(strained, neighbors, kT).sum()
        if not energy.requires_grad:
            energy = energy + 0.0 * positions.sum()
        gradients = torch.autograd.grad(energy, (positions, strain), allow_unused=True)
    gradient, strain_derivative = (
        torch.zeros_like(of) if value is None else value
        for of, value in zip((positions, strain), gradients, strict=True)
    )
    return {"energy": energy.detach(), "forces": -gradient, "strain_derivative": strain_derivative}
