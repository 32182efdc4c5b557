"""Sessions in memory: the log, its tail and followers, the registry, pages and compaction.

A session is a log. Everything here reads and appends it through the store port; nothing here
runs an agent or knows a wire. Imports ``protocol``, the ports, ``auth``, ``limits``, ``tasks``.
"""
