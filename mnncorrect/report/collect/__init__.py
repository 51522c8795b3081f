"""What a report says, as numbers, names and advice.

Reads corrected files and measures them; draws nothing.
"""
