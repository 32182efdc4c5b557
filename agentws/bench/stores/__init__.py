"""The stores side by side: one trial for each group of rows, with new nodes on each store.

`trials.py` is the table of rows; the other modules have what a trial measures, the clients that
view a session, and the database servers. Imports the rest of the benchmark, and the store port.
"""
