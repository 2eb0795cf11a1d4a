"""Studies: a matrix of runs, trained one after the other or side by side, and their report."""
