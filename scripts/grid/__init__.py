"""Table and plots of a grid of runs, from their records alone."""
