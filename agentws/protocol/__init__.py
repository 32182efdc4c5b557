"""The pure part: events, frames, positions, the order of events, the folds, and the wires' codecs.

No I/O, clock, randomness or logging. Imports ``errors``, msgspec and the standard library; every
other room may import it. Users import its types from ``agentws.events`` and ``agentws.store``.
"""
