"""Comparison of runs: scores with confidence intervals, significance tests, attention statistics, an HTML report."""
