"""The pages of a report, and the sections that they consist of.

Each page puts together what `collect` found and `draw` shows.
"""
