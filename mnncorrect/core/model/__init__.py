"""A fitted correction as arrays, and the place of new cells in it.

`fit` makes it, `components` matches the genes of new cells, `projection` places them.
"""
