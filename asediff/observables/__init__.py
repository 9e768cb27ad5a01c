"""Functions of a trajectory that can be measured, matched and differentiated."""

from asediff.observables.base import Observable
from asediff.observables.rdf import RDF

__all__ = ["RDF", "Observable"]
