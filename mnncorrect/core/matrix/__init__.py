"""Matrices of expression: rows, totals, normalization, genes, components, mixtures.

Dense and sparse, in memory or by blocks. Nothing here knows what a merge is.
"""
