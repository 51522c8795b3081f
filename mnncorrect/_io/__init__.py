"""Files: what is read, how several inputs are joined, and how results are written.

Each kind of input is opened as an h5ad file is; outputs appear whole or not at all. Reads and
writes only: what values are, and what is done to them, is decided in `_prepare`.
"""
