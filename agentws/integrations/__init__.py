"""Adapters for foreign model APIs and agent frameworks: one file, one technology, one extra each.

Users import the adapter that they need (``agentws.integrations.openai``), and so does the demo of
``cli``. Imports ``agents``, ``protocol``, the ports and the adapter's own SDK.
"""
