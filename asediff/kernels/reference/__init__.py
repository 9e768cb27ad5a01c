"""The same arithmetic in plain NumPy and torch: short, slow, and what the compiled loops are compared with."""
