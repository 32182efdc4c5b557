"""What an agent is: the base class, its context and commands, factories, and the chat agent.

Nothing here runs an agent: ``runs`` does. Imports ``protocol``, ``auth``, the store
port and ``sessions``.
"""
