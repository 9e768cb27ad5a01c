"""Methods that change a potential until it meets its targets, and the verb `fit` that runs them."""

from asediff.fitting.api import FitJob, Method, fit, validate
from asediff.fitting.averages import Statistics
from asediff.fitting.diffsim import DiffSim
from asediff.fitting.histograms import FrameStatistics
from asediff.fitting.ibi import (
    IBI,
    Extrapolate,
    SafeUpdate,
    Scale,
    SimplePressure,
    Smooth,
    SplineSmooth,
    VirialPressure,
    VotcaUpdate,
)
from asediff.fitting.ihnc import IHNC
from asediff.fitting.newton import IMC, GaussNewton
from asediff.fitting.pretrain import BoltzmannPretraining
from asediff.fitting.regularization import Smoothness, Tikhonov, TruncatedSVD
from asediff.fitting.relative_entropy import RelativeEntropy
from asediff.fitting.result import FitResult
from asediff.fitting.reweighting import ExactWeights, LinearResponse, Reweighting
from asediff.fitting.samples import sample
from asediff.fitting.tabulated import PowerCore

__all__ = [
    "IBI",
    "IHNC",
    "IMC",
    "BoltzmannPretraining",
    "DiffSim",
    "ExactWeights",
    "Extrapolate",
    "FitJob",
    "FitResult",
    "FrameStatistics",
    "GaussNewton",
    "LinearResponse",
    "Method",
    "PowerCore",
    "RelativeEntropy",
    "Reweighting",
    "SafeUpdate",
    "Scale",
    "SimplePressure",
    "Smooth",
    "Smoothness",
    "SplineSmooth",
    "Statistics",
    "Tikhonov",
    "TruncatedSVD",
    "VirialPressure",
    "VotcaUpdate",
    "fit",
    "sample",
    "validate",
]
