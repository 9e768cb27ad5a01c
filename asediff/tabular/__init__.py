"""Functions of r as tables: VOTCA's rows, what can be done to them, and the tasks of an update."""
