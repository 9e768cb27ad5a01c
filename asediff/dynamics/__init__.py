"""How atoms move and how gradients come back: integrators, chains of steps, adjoints, the way to compiled loops."""
