"""How a command runs: logs, progress, interrupts, errors and exit codes, environment.

Nothing here knows what a single command does.
"""
