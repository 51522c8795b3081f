"""What every calculation needs: threads, caches of compiled loops, checks of arguments.

Nothing here knows batches or genes.
"""
