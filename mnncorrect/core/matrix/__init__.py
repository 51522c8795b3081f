"""Matrices of expression: rows, totals, normalization, genes, components, mixtures.

Dense and sparse, in memory or by blocks. `block_counts` normalizes counts as scanpy does,
`normalize` as batchelor does. Nothing here knows what a merge is.
"""
