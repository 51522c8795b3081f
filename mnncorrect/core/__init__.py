"""Arrays in, arrays out: all that is calculated. Knows no AnnData, no files and no users.

`calibrated` and `methods` correct, by what `merging`, `neighbors` and `matrix` calculate; `metrics`
judges a correction, and `model` keeps one for new cells. `runtime` has threads and checks.
"""
