"""The shell: `commands` has a file each, `options` what they accept, `runtime` how they run.

What is printed goes through `streams`; `wording` turns Python's words into options and paths.
"""
