"""Joining a gateway to the host application: its lifespan, its routes, or a wrapper around it.

Used by ``mount`` only. Imports ``transports``, ``gateway`` and Starlette.
"""
