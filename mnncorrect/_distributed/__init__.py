"""The same correction with its passes over the values carried out by Dask workers.

The plan and all numbers are those of one process: blocks of cells have the same bounds, and their
results are taken in the same order. Only functions that read files and change nothing are sent
(``pure`` in :func:`mnncorrect.core.runtime.threads.each_block`).
"""

from .cluster import Dask, end_if_imported_by_worker, refuse_without_dask, workers_of

__all__ = ["Dask", "end_if_imported_by_worker", "refuse_without_dask", "workers_of"]
