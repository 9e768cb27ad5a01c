"""Methods that change the values of a pair potential on a grid, by comparing curves."""
