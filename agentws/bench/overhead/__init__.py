"""What the gateway costs over bare Starlette: one figure of a new server for each workload.

`workloads.py` is the table of rows; the other modules have the functions that measure them, and
the report. Imports the rest of the benchmark.
"""
