"""How good a correction is: scores, nulls, composition, confounding, delta variance.

Measures embeddings and tables; changes none of them.
"""
