"""Placing the gateway in a host application: routes, mounts, wrapping, lifespan.

Used by ``mount`` only. Imports ``transports``, ``gateway`` and Starlette.
"""
