"""The other methods: fast, classic, cluster, regression, and expression of low rank.

One file a method, each behind the loop of `merging`. The first three reproduce the reference to
rounding; ``calibrated`` has a folder of its own.
"""
