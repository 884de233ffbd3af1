"""Verification by everybody: a data folder with what was signed of it, and a running log by HTTP."""
