"""Runs: the only place that drives an agent."""
