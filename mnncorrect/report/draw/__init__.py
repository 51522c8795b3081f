"""What a report shows: maps of cells, plots of ``mnncorrect.pl``, and the templates of pages.

Knows no files and measures nothing.
"""
