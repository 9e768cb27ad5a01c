"""Methods that change a potential until it meets its targets, and the verb `fit` that runs them."""

from asediff.fitting.api import FitJob, Method, fit, validate
from asediff.fitting.gradients.diffsim import DiffSim
from asediff.fitting.gradients.finish import LinearFinish
from asediff.fitting.gradients.pretrain import BoltzmannPretraining
from asediff.fitting.gradients.relative_entropy import RelativeEntropy
from asediff.fitting.gradients.reweighting import ExactWeights, LinearResponse, Reweighting
from asediff.fitting.result import FitResult
from asediff.fitting.statistics.averages import Statistics
from asediff.fitting.statistics.histograms import FrameStatistics
from asediff.fitting.statistics.samples import sample
from asediff.fitting.tables.ibi import IBI, SafeUpdate, VotcaUpdate
from asediff.fitting.tables.ihnc import IHNC
from asediff.fitting.tables.newton import IMC, GaussNewton
from asediff.fitting.tables.regularization import Smoothness, Tikhonov, TruncatedSVD
from asediff.fitting.tables.tabulated import PowerCore
from asediff.tabular.tasks import Extrapolate, Scale, Shift, SimplePressure, Smooth, SplineSmooth, VirialPressure

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
    "LinearFinish",
    "LinearResponse",
    "Method",
    "PowerCore",
    "RelativeEntropy",
    "Reweighting",
    "SafeUpdate",
    "Scale",
    "Shift",
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
