"""The stores and buses that come with the package; add a store here, or in a package of your own.

Each implements a port (``store.py``, ``bus.py``, ``files.py``): one technology a file or a folder.
Imports the ports, ``protocol`` and its own technology; never another backend.
docs/writing-a-store.md says what a store must keep.
"""
