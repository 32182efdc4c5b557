"""The gateway: every part put together, with one lifetime, broadcasts and periodic housekeeping.

Also the checks of values that the host's own code passes in. Imports every layer below it, and the
default backends; only ``hosting``, ``mount`` and the public face import it at run time.
"""
