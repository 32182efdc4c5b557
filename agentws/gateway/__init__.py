"""The gateway: every part put together, with one lifetime and its periodic housekeeping.

Also the checks of what the host's own code gives. Imports every layer below it, and the default
backends; only ``hosting`` and ``mount`` import it at run time.
"""
