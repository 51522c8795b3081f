"""The neighbor search of this package, in the form that scanpy and scikit-learn take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from mnncorrect._adata.arguments import Seed, take_seed

if TYPE_CHECKING:
    from sklearn.utils import Tags

    from mnncorrect.core.neighbors.engines import Neighbors


class NeighborsTransformer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Nearest neighbors as a sparse matrix of distances, for ``sc.pp.neighbors``.

    Pass it to scanpy as ``transformer``. Then neighbors come from the search of the corrections:
    ``"exact"``, or ``"partition"`` for many cells. Results do not depend on the number of threads,
    and no other search must be compiled first.

    Parameters
    ----------
    n_neighbors
        Number of neighbors of each point, including itself if it is among the searched points.
        scanpy counts in the same way, and uses this number instead of its own.
    neighbors
        Search for neighbors: ``"exact"``, or approximate by ``"partition"`` or ``"pynndescent"``.
        ``"cuvs"`` searches on an NVIDIA graphics card, with cuVS and CuPy installed. ``"auto"``
        chooses by the number of cells.
    recall
        Share of the true neighbors that ``"partition"`` finds, above 0 and at most 1. Larger is
        slower. Other searches ignore it.
    random_state
        Random seed of an approximate search: an integer, a random generator of numpy, or ``None``
        for a new seed in each search.
    n_jobs
        Number of threads; ``None``: all available CPUs. Results do not depend on it, except for
        ``"pynndescent"``.

    Attributes
    ----------
    n_samples_fit_
        Number of fitted points; available after ``fit``.
    engine_
        Search that ``fit_transform`` used; available after it was called.

    Examples
    --------
    >>> import numpy as np
    >>> points = np.array([[0.0], [1.0], [3.0]])
    >>> NeighborsTransformer(n_neighbors=2).fit_transform(points).toarray()
    array([[0., 1., 0.],
           [1., 0., 0.],
           [0., 2., 0.]])
    """

    def __init__(
        self,
        n_neighbors: int = 15,
        *,
        neighbors: Literal["auto", "exact", "partition", "pynndescent", "cuvs"] = "auto",
        recall: float = 0.995,
        random_state: Seed = 0,
        n_jobs: int | None = None,
    ) -> None:
        self.n_neighbors = n_neighbors
        self.neighbors = neighbors
        self.recall = recall
        self.random_state = random_state
        self.n_jobs = n_jobs

    @property
    def n_samples_fit_(self) -> int:
        """Number of fitted points."""
        check_is_fitted(self)
        return len(self._points)

    @property
    def _n_features_out(self) -> int:
        return self.n_samples_fit_

    def __sklearn_is_fitted__(self) -> bool:
        """Return whether there are points to look for neighbors among."""
        return hasattr(self, "_points")

    def __sklearn_tags__(self) -> Tags:
        """Say what scikit-learn may give to this estimator."""
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        # Distances are float64.
        tags.transformer_tags.preserves_dtype = []
        return tags

    def fit(self, X: Any, y: None = None) -> NeighborsTransformer:  # noqa: ARG002, N803
        """Store the points to search.

        Parameters
        ----------
        X
            Points x dimensions, dense or sparse, finite.
        y
            Not used.

        Raises
        ------
        TypeError, ValueError
            If these are not finite numbers in two dimensions.
        """
        self._points = self._read(X, reset=True)
        return self

    def transform(self, X: Any) -> sp.csr_matrix:  # noqa: N803
        """Find the nearest fitted points.

        Returns
        -------
        Sparse matrix, rows of ``X`` x fitted points: ``n_neighbors`` distances in each row, the
        nearest first, those of 0 among them.

        Raises
        ------
        TypeError, ValueError
            If these are not finite numbers with the fitted number of dimensions, nothing was
            fitted, or a parameter is out of range.
        """
        check_is_fitted(self)
        found = self._search(self._read(X, reset=False), self._points)
        return _matrix(found.indices, found.distances, len(self._points))

    def fit_transform(self, X: Any, y: None = None) -> sp.csr_matrix:  # noqa: N803
        """Find the nearest points of each point, itself first, at distance 0.

        Parameters
        ----------
        X
            Points x dimensions, dense or sparse, finite.
        y
            Not used.

        Returns
        -------
        Sparse matrix, points x points: ``n_neighbors`` distances in each row, the nearest first.

        Raises
        ------
        TypeError, ValueError
            If these are not finite numbers in two dimensions, or a parameter is out of range.
        """
        points = self.fit(X, y)._points
        found = self._search(points, points)
        self.engine_ = found.engine
        _put_self_first(found.indices, found.distances)
        return _matrix(found.indices, found.distances, len(points))

    def _read(self, values: Any, *, reset: bool) -> NDArray[Any]:
        """Check points as scikit-learn does, and note their dimensions where they are fitted."""
        read: Any = validate_data(
            self, values, reset=reset, accept_sparse=["csr", "csc"], dtype=[np.float64, np.float32]
        )
        return np.ascontiguousarray(read if isinstance(read, np.ndarray) else read.toarray())

    def _search(self, query: NDArray[Any], points: NDArray[Any]) -> Neighbors:
        from mnncorrect.core.neighbors.engines import nearest
        from mnncorrect.core.runtime.compute import compute_options

        if self.n_neighbors > len(points):
            raise ValueError(
                f"n_neighbors is {self.n_neighbors}, and there are {len(points)} points; choose "
                "fewer neighbors"
            )
        if query.dtype != points.dtype:
            query, points = query.astype(np.float64), points.astype(np.float64)
        return nearest(
            query,
            points,
            self.n_neighbors,
            compute=compute_options(
                neighbors=self.neighbors,
                recall=self.recall,
                random_state=take_seed(self.random_state),
                n_jobs=self.n_jobs,
            ),
        )


def _put_self_first(indices: NDArray[np.int32], distances: NDArray[np.float64]) -> None:
    """Make each point its own first neighbor, in place.

    Of points in one place the lowest is found first; and if they are many, or the search is
    approximate, a point may not be among its own neighbors. It takes the place of the last then.
    """
    own = np.arange(len(indices), dtype=indices.dtype)
    for row in np.flatnonzero(indices[:, 0] != own):
        at = np.flatnonzero(indices[row] == row)
        place = int(at[0]) if len(at) else indices.shape[1] - 1
        indices[row, 1 : place + 1] = indices[row, :place]
        distances[row, 1 : place + 1] = distances[row, :place]
        indices[row, 0], distances[row, 0] = row, 0.0


def _matrix(
    indices: NDArray[np.int32], distances: NDArray[np.float64], n_points: int
) -> sp.csr_matrix:
    n_rows, k = indices.shape
    indptr = np.arange(0, n_rows * k + 1, k)
    return sp.csr_matrix((distances.ravel(), indices.ravel(), indptr), shape=(n_rows, n_points))
