"""asediff: learn pair potentials by differentiating through molecular dynamics."""

from typing import TYPE_CHECKING

from asediff._lazy import lazy

if TYPE_CHECKING:
    from asediff import lattices
    from asediff.calculator import AsediffCalculator
    from asediff.dynamics.adjoints import Adjoint, BacksolveAdjoint, CheckpointAdjoint, DirectAdjoint, ReversibleAdjoint
    from asediff.dynamics.chain import Chain
    from asediff.dynamics.integrators import Integrator, VelocityVerlet
    from asediff.dynamics.langevin import Langevin
    from asediff.dynamics.nose_hoover import NoseHooverChain
    from asediff.engines import DiluteEngine, Engine, TorchEngine
    from asediff.fitting import (
        IBI,
        IHNC,
        IMC,
        BoltzmannPretraining,
        DiffSim,
        FitResult,
        GaussNewton,
        RelativeEntropy,
        Reweighting,
        fit,
    )
    from asediff.host.ranks import Ranks
    from asediff.lammps.engine import LammpsEngine
    from asediff.lammps.tables import PairTable, read_tables, spline_tables, write_tables
    from asediff.lammps.verify import VerifyReport, verify_export
    from asediff.observables import ADF, RDF, VACF, Observable, Pressure, StructureFactor
    from asediff.potentials import (
        ForceShifted,
        LennardJones,
        ModifiedMorse,
        NeuralRadial,
        PairPotential,
        Potential,
        Radial,
        Repulsion,
        Shifted,
        Switched,
        TabulatedRadial,
        TemperatureDependent,
        Truncated,
        load_potential,
        save_potential,
    )
    from asediff.simulate import InstabilityError, simulate
    from asediff.system import System
    from asediff.targets.curves import read_curve
    from asediff.targets.losses import L2, JensenShannon, ShellL2, WeightedL2
    from asediff.targets.measurement import Deviation, Measurement
    from asediff.targets.target import StatePoint, Target
    from asediff.topology import Topology
    from asediff.trajectory import Trajectory

__all__ = [
    "ADF",
    "IBI",
    "IHNC",
    "IMC",
    "L2",
    "RDF",
    "VACF",
    "Adjoint",
    "AsediffCalculator",
    "BacksolveAdjoint",
    "BoltzmannPretraining",
    "Chain",
    "CheckpointAdjoint",
    "Deviation",
    "DiffSim",
    "DiluteEngine",
    "DirectAdjoint",
    "Engine",
    "FitResult",
    "ForceShifted",
    "GaussNewton",
    "InstabilityError",
    "Integrator",
    "JensenShannon",
    "LammpsEngine",
    "Langevin",
    "LennardJones",
    "Measurement",
    "ModifiedMorse",
    "NeuralRadial",
    "NoseHooverChain",
    "Observable",
    "PairPotential",
    "PairTable",
    "Potential",
    "Pressure",
    "Radial",
    "Ranks",
    "RelativeEntropy",
    "Repulsion",
    "ReversibleAdjoint",
    "Reweighting",
    "ShellL2",
    "Shifted",
    "StatePoint",
    "StructureFactor",
    "Switched",
    "System",
    "TabulatedRadial",
    "Target",
    "TemperatureDependent",
    "Topology",
    "TorchEngine",
    "Trajectory",
    "Truncated",
    "VelocityVerlet",
    "VerifyReport",
    "WeightedL2",
    "fit",
    "lattices",
    "load_potential",
    "read_curve",
    "read_tables",
    "save_potential",
    "simulate",
    "spline_tables",
    "verify_export",
    "write_tables",
]

__getattr__, __dir__ = lazy(
    __name__,
    {
        "asediff.dynamics.adjoints": "Adjoint BacksolveAdjoint CheckpointAdjoint DirectAdjoint ReversibleAdjoint",
        "asediff.calculator": "AsediffCalculator",
        "asediff.dynamics.chain": "Chain",
        "asediff.targets.curves": "read_curve",
        "asediff.engines": "DiluteEngine Engine TorchEngine",
        "asediff.fitting": "IBI IHNC IMC BoltzmannPretraining DiffSim FitResult GaussNewton RelativeEntropy "
        "Reweighting fit",
        "asediff.host.ranks": "Ranks",
        "asediff.dynamics.integrators": "Integrator VelocityVerlet",
        "asediff.dynamics.langevin": "Langevin",
        "asediff.dynamics.nose_hoover": "NoseHooverChain",
        "asediff.targets.losses": "L2 JensenShannon ShellL2 WeightedL2",
        "asediff.targets.measurement": "Deviation Measurement",
        "asediff.observables": "ADF RDF VACF Observable Pressure StructureFactor",
        "asediff.potentials": "ForceShifted LennardJones ModifiedMorse NeuralRadial PairPotential Potential Radial "
        "Repulsion Shifted Switched TabulatedRadial TemperatureDependent Truncated load_potential save_potential",
        "asediff.simulate": "InstabilityError simulate",
        "asediff.system": "System",
        "asediff.lammps.engine": "LammpsEngine",
        "asediff.lammps.tables": "PairTable read_tables spline_tables write_tables",
        "asediff.targets.target": "StatePoint Target",
        "asediff.topology": "Topology",
        "asediff.trajectory": "Trajectory",
        "asediff.lammps.verify": "VerifyReport verify_export",
    },
)
