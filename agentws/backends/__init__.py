"""Stores and buses: one technology a file, or files that share their first word.

Each implements a port (``store.py``, ``bus.py``). Imports the ports, ``protocol`` and its own
technology; never another backend.
"""
