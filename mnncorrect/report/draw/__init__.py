"""What a report shows: maps, drawings, tables and the HTML that they are made of.

Draws what it is given; knows no files and measures nothing.
"""
