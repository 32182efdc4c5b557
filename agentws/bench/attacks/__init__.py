"""Attacks on the server: hostile peers, the server that they attack, and what they cost it.

`agentws bench --attacks` runs them, against stock uvicorn and against the preset, only on
127.0.0.1. Imports the rest of the benchmark, any layer, and the server.
"""
