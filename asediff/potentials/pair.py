"""Pair potentials: radial functions per pair of species, one cutoff, one truncation, one table."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import cast

import torch
from ase.data import atomic_numbers, chemical_symbols
from torch import Tensor, nn

from asediff.checks.species import pair_name
from asediff.neighbors import Neighbors
from asediff.potentials.base import Potential
from asediff.potentials.radial import Radial
from asediff.potentials.splines import PairSpline, clamped_spline
from asediff.potentials.tabulated import Tabulated, TabulationError
from asediff.potentials.truncation import Switched, Truncation, value_and_slope
from asediff.system import System

FLOOR = 0.02  # first knot, as a fraction of the cutoff: closer than this no pair ever comes
MAX_KNOTS = 2**15


class PairPotential(Potential, Tabulated):
    """Sum over pairs of u(r) within a cutoff.

    Dynamics, energies and exports all use the same table: C2 splines in r² with `n_knots` knots, built by `tabulate`
    from the radial functions; `tabulation_error` bounds the difference. Inside `core` x cutoff the table continues
    linearly in r² (finite energy, a force that always points the way it did at the core's edge), so that no pair
    can leave the table.

    Args:
        radial: one radial function for every pair of species, or one per pair, such as
            `{("Ar", "Ar"): LennardJones(), ("Ar", "Kr"): ..., ("Kr", "Kr"): ...}`; every combination of the species
            named must be there.
        cutoff: r_c, length.
        truncation: how the functions end at r_c; see `asediff.potentials.truncation`.
        core: radius of the core as a fraction of the cutoff.
        n_knots: knots of the table; see `refine`.
    """

    def __init__(
        self,
        radial: Radial | Mapping[tuple[str, str], Radial],
        cutoff: float,
        *,
        truncation: Truncation | None = None,
        core: float = 0.2,
        n_knots: int = 1000,
    ) -> None:
        super().__init__()
        if not 0 < cutoff < math.inf:
            raise ValueError(f"cutoff: {cutoff} is not a positive length; give the distance beyond which u = 0")
        if not FLOOR < core < 1:
            raise ValueError(f"core: {core} is not within ({FLOOR}, 1); give a fraction of the cutoff, such as 0.2")
        if n_knots < 16:
            raise ValueError(f"n_knots: {n_knots} is too small; give at least 16")
        self.cutoff = float(cutoff)
        self.truncation = Switched() if truncation is None else truncation
        self.core = float(core)
        self.n_knots = int(n_knots)
        self.radials = nn.ModuleDict()
        self.species: tuple[int, ...] | None = None  # None: one function for every species
        if isinstance(radial, Radial):
            self.radials["all"] = radial
            return
        if not radial:
            raise ValueError("radial: no pair is given; give one radial function, or one for every pair of species")
        for (first, second), function in radial.items():
            name = pair_name(first, second)
            if name in self.radials:
                raise ValueError(f"radial: pair {name} is given twice; give it once, in either order")
            self.radials[name] = function
        symbols = {symbol for pair in radial for symbol in pair}
        self.species = tuple(sorted(atomic_numbers[symbol] for symbol in symbols))
        missing = [name for name in self.pair_names() if name not in self.radials]
        if missing:
            raise ValueError(
                f"radial: pair {missing[0]} is missing; give a function for every pair of {sorted(symbols)}"
            )

    @property
    def temperature_dependent(self) -> bool:
        """Whether any radial function needs kT."""
        return any(radial.temperature_dependent for radial in self.radials.values())

    def pair_names(self) -> list[str]:
        """Names of the tables: `["all"]`, or every pair of species in ascending order."""
        if self.species is None:
            return ["all"]
        symbols = [chemical_symbols[number] for number in self.species]
        return [pair_name(a, b) for a, b in itertools.combinations_with_replacement(symbols, 2)]

    def radial(self, pair: tuple[str, str] | str | None = None) -> Radial:
        """The radial function of a pair, given as `("O", "O")`, `"O-O"`, or nothing when there is only one.

        Raises:
            ValueError: the pair is not there, or none is named and there are several.
        """
        if "all" in self.radials:
            name = "all"
        elif pair is None and len(self.radials) == 1:
            name = next(iter(self.radials))
        elif pair is None:
            raise ValueError(f"pair: missing; choose one of {', '.join(self.radials)}")
        else:
            symbols = pair.split("-") if isinstance(pair, str) else pair
            if len(symbols) != 2:
                raise ValueError(f"pair: {pair!r} does not name two species; choose one of {', '.join(self.radials)}")
            name = pair_name(*symbols)
        if name not in self.radials:
            raise ValueError(f"pair: {name} is unknown; choose one of {', '.join(self.radials)}")
        return self.radials[name]  # type: ignore[return-value]

    def function(self, r: Tensor, pair: tuple[str, str] | str | None = None, kT: float | None = None) -> Tensor:
        """u_c(r) `(n,)` of one pair with the truncation applied and 0 beyond the cutoff; not tabulated."""
        radial = self.radial(pair)
        thermal = None if kT is None else torch.as_tensor(kT, dtype=r.dtype, device=r.device)
        u = self.truncation.apply(lambda x: radial(x, thermal), r, self.cutoff)
        return torch.where(r < self.cutoff, u, torch.zeros_like(u))

    def tabulate(self, system: System, kT: Tensor | float | None = None) -> PairSpline:
        """The splines of a batch, differentiable in the parameters.

        Args:
            system: gives the number of systems, the species and the device.
            kT: `(n_systems,)` or a number, energy; needed by temperature-dependent functions only.

        Returns:
            One table per pair of species (and per temperature, when the functions depend on it).
        """
        device = system.positions.device
        n_systems = system.n_systems
        temperatures: list[Tensor | None] = [None]
        of_system = torch.zeros(n_systems, dtype=torch.int64, device=device)
        if self.temperature_dependent:
            if kT is None:
                raise ValueError("kT: missing for a temperature-dependent potential; give kT or temperature_K")
            kT = torch.as_tensor(kT, dtype=torch.float64, device=device).expand(n_systems)
            distinct, of_system = torch.unique(kT, return_inverse=True)
            temperatures = list(distinct.unbind())
        names = self.pair_names()
        s_lo, spacing, n_core = self._grid()
        tables = [
            self._coefficients(self.radials[name], thermal, s_lo, spacing, n_core)  # type: ignore[arg-type]
            for thermal in temperatures
            for name in names
        ]
        if self.species is None:
            species = torch.unique(system.numbers)
            pairs = torch.zeros(len(species), len(species), dtype=torch.int64, device=device)
        else:
            species = torch.tensor(self.species, dtype=torch.int64, device=device)
            first, second = torch.triu_indices(len(species), len(species), device=device)
            pairs = torch.zeros(len(species), len(species), dtype=torch.int64, device=device)
            pairs[first, second] = torch.arange(len(names), device=device)
            pairs[second, first] = pairs[first, second]
        index = pairs[None] + len(names) * of_system[:, None, None]
        coefficients = torch.stack(tables).to(device=device, dtype=system.dtype)
        return PairSpline(coefficients, index, species, s_lo, spacing, self.cutoff)

    def compiled(self, system: System, kT: Tensor | float | None = None) -> PairSpline | None:
        """See `Potential.compiled`: `tabulate`, unless `energy` or `energy_forces` have been overridden."""
        return self.tabulate(system, kT) if self.is_pairwise else None

    def split(self) -> tuple[list[Potential], list[Potential]]:
        """See `Potential.split`."""
        return ([self], []) if self.is_pairwise else ([], [self])

    @property
    def is_pairwise(self) -> bool:
        """See `Potential.is_pairwise`; not when a subclass (or an object) overrides energies or forces."""
        return all(
            getattr(getattr(self, name), "__func__", None) is getattr(PairPotential, name)
            for name in ("energy", "energy_forces")
        )

    def _grid(self, n_knots: int | None = None) -> tuple[float, float, int]:
        """First knot and spacing in s, and the knot at which the core ends."""
        n_knots = self.n_knots if n_knots is None else n_knots
        s_lo = (FLOOR * self.cutoff) ** 2
        s_core = (self.core * self.cutoff) ** 2
        n_core = max(1, round(n_knots * (s_core - s_lo) / (self.cutoff**2 - s_core)))
        spacing = (self.cutoff**2 - s_lo) / (n_knots - 1 + n_core)
        return s_lo, spacing, n_core

    def _coefficients(self, radial: Radial, kT: Tensor | None, s_lo: float, spacing: float, n_core: int) -> Tensor:
        """`(n_intervals, 4)`: linear in s below knot `n_core`, clamped spline from there to the cutoff."""
        n_knots = round((self.cutoff**2 - s_lo) / spacing) + 1
        parameter = next(itertools.chain(radial.parameters(), radial.buffers()), None)
        device = parameter.device if parameter is not None else None
        s = s_lo + spacing * torch.arange(n_core, n_knots, dtype=torch.float64, device=device)
        s[-1] = self.cutoff**2

        def truncated(r: Tensor) -> Tensor:
            return self.truncation.apply(lambda x: radial(x, kT), r, self.cutoff)

        r = s.sqrt()
        values = truncated(r)
        ends = r[[0, -1]]
        slopes = value_and_slope(truncated, ends)[1] / (2 * ends)
        inner = clamped_spline(values, slopes[0], slopes[1], spacing)
        steps = torch.arange(-n_core, 0, dtype=torch.float64, device=device)
        rise = spacing * slopes[0]
        wall = torch.stack([values[0] + steps * rise, rise.expand(n_core)], dim=-1)
        return torch.cat([nn.functional.pad(wall, (0, 2)), inner])

    def tabulation_error(self, kT: float, *, accessible: float = 20.0) -> TabulationError:
        """Largest error of the table against the radial functions, at five points of every accessible interval.

        Args:
            kT: energy; also the temperature of temperature-dependent functions.
            accessible: range of u above its minimum that counts, in kT; e^-20 of the pairs climb higher.

        Returns:
            The error; see `TabulationError`.
        """
        s_lo, spacing, n_core = self._grid()
        thermal = torch.tensor(float(kT), dtype=torch.float64)
        energy = force = 0.0
        for radial in self.radials.values():
            with torch.no_grad():
                table = self._coefficients(radial, thermal, s_lo, spacing, n_core).cpu()  # type: ignore[arg-type]
                t = torch.tensor([0.0, 0.2113, 0.5, 0.7887, 0.999], dtype=torch.float64)
                k = torch.arange(n_core, len(table), dtype=torch.float64)
                r = (s_lo + spacing * (k[:, None] + t)).sqrt()

                def truncated(x: Tensor, radial: nn.Module = radial) -> Tensor:
                    return self.truncation.apply(lambda y: radial(y, thermal), x, self.cutoff)

                exact, slope = (a.reshape(r.shape) for a in value_and_slope(truncated, r.reshape(-1)))
                c0, c1, c2, c3 = (c[:, None] for c in table[n_core:].unbind(-1))
                u = c0 + t * (c1 + t * (c2 + t * c3))
                du = 2 * r * (c1 + t * (2 * c2 + 3 * t * c3)) / spacing
                near = exact - exact.min() <= accessible * kT
                energy = max(energy, float(((u - exact).abs() / kT)[near].max()))
                largest = float(slope.abs()[near].max())
                if largest > 0:
                    force = max(force, float((du - slope).abs()[near].max()) / largest)
        return TabulationError(energy, force, self.n_knots)

    def refine(self, kT: float, *, energy: float = 1e-4, force: float = 1e-3) -> TabulationError:
        """Double the knots until the tabulation error is within the bounds (energy in kT; relative force).

        Raises:
            ValueError: the bounds are not met with 32768 knots.
        """
        while True:
            error = self.tabulation_error(kT)
            if error.within(energy, force):
                return error
            if 2 * self.n_knots > MAX_KNOTS:
                raise ValueError(
                    f"radial: a table of {self.n_knots} knots is still off by {error.energy:.1e} kT and "
                    f"{error.force:.1e} of the largest force; use a smoother function or wider basis Gaussians"
                )
            self.n_knots *= 2

    def energy(self, system: System, neighbors: Neighbors, kT: Tensor | None = None) -> Tensor:
        """Energy of the table, `(n_systems,)`; see `Potential.energy`."""
        return self.tabulate(system, kT).energy(system, neighbors)

    def energy_forces(self, system: System, neighbors: Neighbors, kT: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Energy `(n_systems,)` and forces `(n_atoms, 3)` of the table."""
        energy, forces, _ = self.tabulate(system, kT).energy_forces(system, neighbors)
        return energy, forces


def check_pairwise(potential: Potential, user: str) -> PairPotential:
    """Refuse a potential that is more than its pair tables where nothing but those is seen.

    Args:
        potential: what is handed in.
        user: who works with the tables alone, as the message calls it.

    Returns:
        The potential.

    Raises:
        ValueError: a potential without pair functions, or one that overrides `energy`.
    """
    if potential.is_pairwise:
        return cast(PairPotential, potential)
    kind = type(potential).__name__
    reason = "overrides the energy of PairPotential" if isinstance(potential, PairPotential) else "is not pairwise"
    raise ValueError(
        f"potential: {kind} {reason}, and {user} would see its pair functions alone; give a PairPotential whose "
        "energy is the sum of its pair functions"
    )
