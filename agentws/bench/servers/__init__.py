"""The measured servers, each in its own process, and the clients that load them.

`python -m agentws.bench.servers` is one of them: the gateway, or bare Starlette. Imports any layer,
the backends and the server; nothing of what is measured.
"""
