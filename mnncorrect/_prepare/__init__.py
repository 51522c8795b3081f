"""Values before a correction: what they are, and what is done to them.

Surveys counts, normalizes them, chooses genes and judges whether a data set is fit to be
corrected, in blocks of cells. Files are opened in `_io`; methods live in `core`.
"""
