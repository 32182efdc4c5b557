"""What an agent is: the base class, its context and commands, factories, and the chat agent.

Nothing here runs an agent; that is the work of ``runs``. Imports ``protocol``, ``auth``, the store
port and ``sessions``.
"""
