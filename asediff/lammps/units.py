"""LAMMPS' unit styles; the only place where LAMMPS units are converted."""

from __future__ import annotations

from dataclasses import dataclass

from ase import units as ase_units


@dataclass(frozen=True)
class LammpsUnits:
    """One of LAMMPS' unit styles: the size of its units in asediff's internal ones.

    Internal units are reduced ones for `lj` and Å, eV, amu (time in Å·sqrt(amu/eV), as in ASE) for `real` and `metal`.
    A LAMMPS quantity times the factor is the internal quantity.

    Attributes:
        name: `lj`, `real` or `metal`.
        energy: energy unit, internal energy (real: kcal/mol; metal: eV).
        time: time unit, internal time (real: fs; metal: ps).
        pressure: pressure unit, internal energy/length³ (real: atm; metal: bar).
        boltzmann: LAMMPS' own Boltzmann constant, LAMMPS energy per LAMMPS temperature, so that kT is the same energy
            on both sides although LAMMPS' constants are older than ASE's.
    """

    name: str
    energy: float
    time: float
    pressure: float
    boltzmann: float

    @classmethod
    def named(cls, name: str) -> LammpsUnits:
        """The unit style of this name.

        Raises:
            ValueError: not one of lj, real, metal.
        """
        styles = {
            "lj": cls("lj", 1.0, 1.0, 1.0, 1.0),
            "real": cls(
                "real",
                ase_units.kcal / ase_units.mol,
                ase_units.fs,
                101325.0 * ase_units.Pascal,
                0.0019872067,
            ),
            "metal": cls("metal", 1.0, 1000.0 * ase_units.fs, ase_units.bar, 8.617343e-5),
        }
        if name not in styles:
            raise ValueError(f"units: {name!r} is not supported; choose one of lj, real, metal")
        return styles[name]

    @property
    def velocity(self) -> float:
        """Velocity unit, internal length/time."""
        return 1.0 / self.time

    def temperature(self, kT: float) -> float:
        """LAMMPS' temperature (reduced, or K) of a thermal energy kT (internal energy)."""
        return kT / self.energy / self.boltzmann

    def thermal_energy(self, temperature: float) -> float:
        """Thermal energy (internal energy) of LAMMPS' temperature (reduced, or K)."""
        return temperature * self.boltzmann * self.energy
