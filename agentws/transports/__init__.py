"""The gateway over WebSocket, SSE and HTTP: guards, connections, routes. Starlette begins here.

A connection is a cursor: it holds a position in the log and writes what follows it. Imports every
layer up to ``runs``; the gateway is passed in.
"""
