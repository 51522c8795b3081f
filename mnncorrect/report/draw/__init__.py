"""What a report shows: maps of cells, plots of ``mnncorrect.pl``, and the templates of pages.

Draws what it is given; knows no files and measures nothing.
"""
