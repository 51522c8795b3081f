"""Nearest neighbors: one contract, one file an engine.

`engines` chooses and calls; `exact` and `partition` are this project's own searches. Mutual pairs
are made of their results in `merging`.
"""
