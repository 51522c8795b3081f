"""One run, from what is asked to what is written: decided once, then described or carried out.

`request` resolves arguments, `plan` decides what will be done with the inputs, `execute` does it,
and `checking` says whether it can be done. Here is what the command line and Python share.
"""
