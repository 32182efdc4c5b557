"""Pure: events, frames, positions, the rules of sequences, the folds, and each wire's encoding.

No I/O, clock, randomness or logging. Imports ``errors``, msgspec and the standard library.
"""
