"""One name means one thing: no class, function or constant of a module has the name of another."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

import mnncorrect

ROOT = Path(mnncorrect.__file__).parent
# The same everywhere: conventions of Python, of this package's log and command line.
CONVENTIONS = {"__all__", "__dir__", "__getattr__", "logger", "main"}
# A command of the shell, the call that it makes, and the function of the core below do the same.
CALLS = {
    "cosine_normalize", "delta_variance", "evaluate", "gmm", "mnn_classic", "mnn_cluster",
    "multibatch_normalize", "multibatch_pca", "pca", "project", "regress_batches",
    "rescale_batches", "run", "umap",
}  # fmt: skip
# What several modules have each of its own, by one contract.
CONTRACTS = {
    "_solve", "_correct_halves",  # of a method, called by the adapter
    "search",  # of an engine
    "read", "write",  # of a kind of file
    "ROW_BLOCK",  # rows that a thread works on at a time
    "TINY",  # the smallest float64 above zero
}  # fmt: skip


def names_of(path: Path) -> list[str]:
    found = []
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found += [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]
    return list(dict.fromkeys(found))


def test_a_name_means_one_thing():
    places = defaultdict(list)
    for path in sorted(ROOT.rglob("*.py")):
        for name in names_of(path):
            places[name].append(str(path.relative_to(ROOT)))
    several = {
        name: modules
        for name, modules in places.items()
        # A compiled loop has the name of the function that calls it.
        if len([module for module in modules if not module.endswith("_kernels.py")]) > 1
        or len([module for module in modules if module.endswith("_kernels.py")]) > 1
    }
    unknown = {
        name: where
        for name, where in several.items()
        if name not in CONVENTIONS | CALLS | CONTRACTS
    }
    assert not unknown
    # No exception outlives its reason.
    assert set(several) >= CALLS | CONTRACTS
