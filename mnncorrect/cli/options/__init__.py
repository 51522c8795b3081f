"""The options of the shell, in groups that commands share.

`shared` has those of all commands, `correction` those of a correction.
"""
