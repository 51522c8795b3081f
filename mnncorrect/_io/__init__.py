"""Files: which may be written, and how they are read and written.

Nothing here knows how a correction works or what a user typed.
"""
