"""Experiments: configurations and their rules, stages, sweeps, reproduction, the command line."""
