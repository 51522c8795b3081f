"""The commands of the shell, one file each.

A command parses its options, makes the call and writes the result.
"""
