"""The calibrated method, the default, and its parts.

`method` argues each step; one file a step: order of merges, displacement, evidence, noise scale,
confidence, expression. What other methods share with it lives in `merging` and `neighbors`.
"""
