"""asediff: learn pair potentials by differentiating through molecular dynamics."""

from typing import TYPE_CHECKING

from asediff._lazy import lazy

if TYPE_CHECKING:
    from asediff import lattices
    from asediff.adjoints import Adjoint, BacksolveAdjoint, CheckpointAdjoint, DirectAdjoint, ReversibleAdjoint
    from asediff.calculator import AsediffCalculator
    from asediff.chain import Chain
    from asediff.curves import read_curve
    from asediff.engines import DiluteEngine, Engine, LammpsEngine, TorchEngine
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
    from asediff.integrators import Integrator, Langevin, NoseHooverChain, VelocityVerlet
    from asediff.losses import L2, JensenShannon, ShellL2, WeightedL2
    from asediff.measurement import Deviation, Measurement
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
    from asediff.tables import PairTable, read_tables, spline_tables, write_tables
    from asediff.targets import StatePoint, Target
    from asediff.trajectory import Trajectory
    from asediff.verify import VerifyReport, verify_export

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
        "asediff.adjoints": "Adjoint BacksolveAdjoint CheckpointAdjoint DirectAdjoint ReversibleAdjoint",
        "asediff.calculator": "AsediffCalculator",
        "asediff.chain": "Chain",
        "asediff.curves": "read_curve",
        "asediff.engines": "DiluteEngine Engine LammpsEngine TorchEngine",
        "asediff.fitting": "IBI IHNC IMC BoltzmannPretraining DiffSim FitResult GaussNewton RelativeEntropy "
        "Reweighting fit",
        "asediff.integrators": "Integrator Langevin NoseHooverChain VelocityVerlet",
        "asediff.losses": "L2 JensenShannon ShellL2 WeightedL2",
        "asediff.measurement": "Deviation Measurement",
        "asediff.observables": "ADF RDF VACF Observable Pressure StructureFactor",
        "asediff.potentials": "ForceShifted LennardJones ModifiedMorse NeuralRadial PairPotential Potential Radial "
        "Repulsion Shifted Switched TabulatedRadial TemperatureDependent Truncated load_potential save_potential",
        "asediff.simulate": "InstabilityError simulate",
        "asediff.system": "System",
        "asediff.tables": "PairTable read_tables spline_tables write_tables",
        "asediff.targets": "StatePoint Target",
        "asediff.trajectory": "Trajectory",
        "asediff.verify": "VerifyReport verify_export",
    },
)
