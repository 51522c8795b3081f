"""One run, from what is asked to what is written: decided once, then described or carried out.

`request` resolves arguments, `planning` decides what will be done with the inputs (a `plan`),
`execute` does it, and `checking` says whether it can be done. The shell and Python share this.
"""
