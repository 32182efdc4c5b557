"""Files that people and agents attach to a conversation: what may be stored, and who may use it.

The rules over the port :mod:`agentws.files`: limits, types by content, names, quotas, access.
Imports errors, protocol, the ports and limits; the agents and every layer above import it. Only
``types.py`` knows the library that recognizes types.
"""
