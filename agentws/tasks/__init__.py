"""Tasks with an owner, and tasks that start at once on every Python.

The one place that makes asyncio tasks for the rest of the package. Imports asyncio only.
"""
