"""The calibrated method, the default, and its parts.

`method` is the entry: `stands` looks at each batch, `fit` merges them, `application` corrects all
cells. `merge` argues each step of a merge; one file a step: order of merges, displacement,
evidence, noise scale, confidence, expression. What other methods share with it lives in `merging`
and `neighbors`.
"""
