"""Tables of the names of genes and cells, as text beside a matrix."""

from __future__ import annotations

import gzip
from pathlib import Path

import pandas as pd

from mnncorrect._io import h5ad

QUOTE = '"'
# Words that name a column of such a table; a first line of them is a header.
HEADERS = frozenset({
    "gene", "genes", "gene_id", "gene_ids", "geneid", "gene_name", "gene_names",
    "gene_short_name", "symbol", "gene_symbol", "ensembl", "ensembl_id", "ensembl_gene_id",
    "feature", "features", "feature_id", "feature_name", "feature_type", "id", "ids", "name",
    "names", "index", "barcode", "barcodes", "cell", "cells", "cell_id", "cell_ids",
    "cell_barcode", "cell_name", "bc_wells", "bc", "cb", "v1", "x", "type", "genome",
})  # fmt: skip


def read_name_table(path: Path) -> pd.DataFrame:
    """Read a table of names as text, one row a line, without quotes around all values of a column.

    Separated by commas if its name ends in ``.csv``; gzip may have packed it.
    """
    opener = gzip.open if path.suffix == ".gz" else open
    by_commas = path.name.removesuffix(".gz").endswith(".csv")
    how = {"sep": ",", "quoting": 0} if by_commas else {"sep": "\t", "quoting": 3}
    with (
        h5ad.reading(path, "a table of names in UTF-8"),
        opener(path, "rt", encoding="utf-8-sig") as file,
    ):
        table: pd.DataFrame = pd.read_csv(  # type: ignore[call-overload]
            file, header=None, dtype=str, keep_default_na=False, **how
        )
        for name in table:
            column = table[name]
            if (column.str.len() > 1).all() and (
                column.str.startswith(QUOTE) & column.str.endswith(QUOTE)
            ).all():
                table[name] = column.str[1:-1]
    return table


def headless(table: pd.DataFrame) -> list[pd.DataFrame]:
    """Return a table as it is and, if its first line may be a header, without that.

    Columns of the second have the names that the header gives them.

    Examples
    --------
    >>> len(headless(pd.DataFrame({0: ["AAAC", "AAAG"]})))
    1
    >>> headless(pd.DataFrame({0: ["Barcode", "AAAG"]}))[1].columns.to_list()
    ['barcode']
    """
    given = [str(value).strip() for value in table.iloc[0]] if len(table) else []
    # A table that R wrote has no name for its first column.
    first = next((name.lower() for name in given if name), "")
    if first not in HEADERS:
        return [table]
    given = [name.lower() or "name" for name in given]
    rest = table.iloc[1:].reset_index(drop=True)
    return [table, rest.set_axis(given, axis=1) if len(set(given)) == len(given) else rest]
