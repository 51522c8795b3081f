"""Files: what is read, how several inputs are joined, and how results are written.

`formats` detects what an input is; each kind of input has a file, and is opened as an h5ad file is.
`concat` and `joined_tables` join inputs; `outputs` and `atomic` write results whole or not at all.
What values are, and what is done to them, is decided in `_prepare`.
"""
