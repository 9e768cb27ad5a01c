"""Functions of a trajectory that can be measured, matched and differentiated."""

from asediff.observables.angles import ADF
from asediff.observables.base import REDUCED, Observable, Units
from asediff.observables.dynamics import VACF
from asediff.observables.pressure import Pressure
from asediff.observables.rdf import RDF
from asediff.observables.structure_factor import StructureFactor

__all__ = ["ADF", "RDF", "REDUCED", "VACF", "Observable", "Pressure", "StructureFactor", "Units"]
