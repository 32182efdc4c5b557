"""The only place that drives an agent: commands, leases, runs, their writer and their recovery.

A run is a task that appends to the log. Knows no wire and no connection. Imports ``agents``,
``sessions``, ``tasks``, the ports and ``protocol``.
"""
