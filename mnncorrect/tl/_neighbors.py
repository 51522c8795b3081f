"""The neighbour search of this package, in the form that scanpy and scikit-learn take."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import scipy.sparse as sp

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(eq=False)
class NeighborsTransformer:
    """Nearest neighbours as a sparse matrix of distances, for ``sc.pp.neighbors``.

    Give it to scanpy as ``transformer``: neighbours are then found as the corrections find them,
    by ``"exact"`` search or by ``"partition"`` on many cells, with the same result on any number
    of threads, and no other search has to be compiled first.

    Parameters
    ----------
    n_neighbors
        Neighbours of each point, itself among them where it is one of the points searched; scanpy
        counts them in the same way, and takes this number rather than its own.
    neighbors
        Search: ``"exact"``; ``"partition"`` or ``"pynndescent"``, which are approximate;
        ``"auto"`` takes one by the number of cells.
    recall
        Share of the true neighbours that ``"partition"`` is to find, above 0, at most 1. Higher
        takes longer. The other searches do not heed it.
    random_state
        Seed of an approximate search.
    n_jobs
        Threads; ``None``: all CPUs that the process may use. Results do not depend on it, but for
        ``"pynndescent"``.

    Attributes
    ----------
    n_samples_fit_
        Number of points that neighbours are looked for among; there once it was fitted.
    engine_
        What the last search was done by.

    Examples
    --------
    >>> import numpy as np
    >>> points = np.array([[0.0], [1.0], [3.0]])
    >>> NeighborsTransformer(n_neighbors=2).fit_transform(points).toarray()
    array([[0., 1., 0.],
           [1., 0., 0.],
           [0., 2., 0.]])
    """

    n_neighbors: int = 15
    neighbors: Literal["auto", "exact", "partition", "pynndescent"] = "auto"
    recall: float = 0.995
    random_state: int = 0
    n_jobs: int | None = None
    engine_: str | None = field(default=None, init=False, repr=False)
    _points: NDArray[Any] | None = field(default=None, init=False, repr=False)

    @property
    def n_samples_fit_(self) -> int:
        """Number of points that neighbours are looked for among."""
        return len(self._fitted())

    def get_params(self, deep: bool = True) -> dict[str, Any]:  # noqa: ARG002, FBT001, FBT002
        """Return the parameters by name, as scikit-learn's estimators do."""
        return {entry.name: getattr(self, entry.name) for entry in fields(self) if entry.init}

    def set_params(self, **params: Any) -> NeighborsTransformer:
        """Change parameters, as scikit-learn's estimators do.

        Raises
        ------
        ValueError
            If there is no such parameter.
        """
        for name, value in params.items():
            if name not in self.get_params():
                msg = f"there is no parameter {name!r}; there are: {', '.join(self.get_params())}"
                raise ValueError(msg)
            setattr(self, name, value)
        return self

    def fit(self, X: Any, y: None = None) -> NeighborsTransformer:  # noqa: ARG002, N803
        """Keep the points that neighbours are to be looked for among.

        Parameters
        ----------
        X
            Points x dimensions, dense or sparse, finite.
        y
            Not used.

        Raises
        ------
        TypeError, ValueError
            If these are no finite numbers in two dimensions.
        """
        self._points = _as_points(X)
        return self

    def transform(self, X: Any) -> sp.csr_matrix:  # noqa: N803
        """Find the nearest of the points that were fitted.

        Returns
        -------
        Sparse matrix, rows of ``X`` x fitted points: ``n_neighbors`` distances in each row, the
        nearest first, those of 0 among them.

        Raises
        ------
        TypeError, ValueError
            If these are no finite numbers of as many dimensions, nothing was fitted, or a
            parameter is out of range.
        """
        points, query = self._fitted(), _as_points(X)
        if query.shape[1] != points.shape[1]:
            msg = f"X has {query.shape[1]} dimensions; {points.shape[1]} were fitted"
            raise ValueError(msg)
        indices, distances = self._search(query, points)
        return _matrix(indices, distances, len(points))

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
            If these are no finite numbers in two dimensions, or a parameter is out of range.
        """
        points = self.fit(X, y)._fitted()
        indices, distances = self._search(points, points)
        _put_self_first(indices, distances)
        return _matrix(indices, distances, len(points))

    def __sklearn_clone__(self) -> NeighborsTransformer:
        return replace(self)

    def _fitted(self) -> NDArray[Any]:
        if self._points is None:
            msg = "no points have been fitted; call fit first"
            raise ValueError(msg)
        return self._points

    def _search(
        self, query: NDArray[Any], points: NDArray[Any]
    ) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        from mnncorrect.core.neighbors import nearest
        from mnncorrect.core.threads import resolve_n_jobs

        if self.n_neighbors > len(points):
            msg = (
                f"n_neighbors is {self.n_neighbors}, and there are {len(points)} points; choose "
                "fewer neighbours"
            )
            raise ValueError(msg)
        if query.dtype != points.dtype:
            query, points = query.astype(np.float64), points.astype(np.float64)
        found = nearest(
            query,
            points,
            self.n_neighbors,
            engine=self.neighbors,
            recall=self.recall,
            random_state=self.random_state,
            n_jobs=resolve_n_jobs(self.n_jobs),
        )
        self.engine_ = found.engine
        return found.indices, found.distances


def _as_points(values: Any) -> NDArray[Any]:
    from mnncorrect._adata import as_floats, refuse_non_finite

    matrix = as_floats(values if sp.issparse(values) else np.asarray(values), "X")
    dense = np.asarray(matrix.toarray() if sp.issparse(matrix) else matrix)
    if dense.ndim != 2:
        msg = f"X has {dense.ndim} dimensions; points x dimensions are needed"
        raise ValueError(msg)
    rows, columns = ([str(number) for number in range(size)] for size in dense.shape)
    refuse_non_finite(dense, rows, columns, "X")
    return np.ascontiguousarray(dense)


def _put_self_first(indices: NDArray[np.int32], distances: NDArray[np.float64]) -> None:
    """Make each point its own first neighbour, in place.

    Of points in one place the lowest is found first; and if they are many, or the search is
    approximate, a point may not be among its own neighbours. It takes the place of the last then.
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
