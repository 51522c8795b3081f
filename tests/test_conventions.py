"""Conventions of the Python API: signatures, docstrings, what is public, who imports whom."""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
import itertools
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mnncorrect
from mnncorrect import pp, tl

PUBLIC = {
    "pl": ["bic", "confidence", "embedding", "lost_variance", "merges", "placed"],
    "pp": [
        "batch_from_barcode",
        "cosine_normalize",
        "mnn_calibrated",
        "mnn_classic",
        "mnn_cluster",
        "mnn_correct",
        "mnn_expression",
        "mnn_fast",
        "mnn_integrate",
        "multibatch_normalize",
        "multibatch_pca",
        "pca",
        "prepare",
        "regress_batches",
        "rescale_batches",
    ],
    "tl": [
        "NeighborsTransformer",
        "cluster_abundance",
        "delta_variance",
        "evaluate",
        "fit_model",
        "gmm",
        "leiden",
        "project",
        "read_model",
        "save_model",
        "umap",
    ],
}
FUNCTIONS = {
    f"{module}.{name}": getattr(importlib.import_module(f"mnncorrect.{module}"), name)
    for module, names in PUBLIC.items()
    for name in names
    if name[0].islower()  # the one class follows the conventions of scikit-learn
}
# mnn_correct has the call of another package's function, plots have those of scanpy, and models are
# no objects of cells.
ELSE = {"pp.mnn_correct", "tl.fit_model", "tl.read_model", "tl.save_model"}
OURS = {
    name: function
    for name, function in FUNCTIONS.items()
    if name not in ELSE and not name.startswith("pl.")
}
# Parameters that differ by function because they name what the function makes; and genes and
# scaling, which normalisation and delta variance take differently from corrections, as the
# reference does; and neighbours, which make pairs or a graph.
OWN_DEFAULTS = {
    "adjusted_basis", "cosine_norm", "key_added", "layer", "mask_var", "n_comps", "n_neighbors",
}  # fmt: skip
# Words that stand for a number are resolved before the core is called.
RESOLVED = {"sketch"}

every_function = pytest.mark.parametrize("name", FUNCTIONS)
every_function_of_ours = pytest.mark.parametrize("name", OURS)


def sections(function):
    """The numpydoc sections of a docstring: title to text."""
    parts = re.split(r"\n([A-Z][A-Za-z ]+)\n-+\n", inspect.getdoc(function))
    return dict(zip(["Summary", *parts[1::2]], parts[::2], strict=True))


def documented(text):
    """The parameters described in a section, in order."""
    lines = [line for line in text.splitlines() if line and not line.startswith(" ")]
    return [name for line in lines for name in line.split(", ")]


def test_what_is_public_is_listed():
    assert sorted(mnncorrect.__all__) == sorted(["__version__", *PUBLIC, "plan", "run"])
    assert dir(mnncorrect) == sorted(mnncorrect.__all__)
    for module, names in PUBLIC.items():
        assert list(getattr(mnncorrect, module).__all__) == names
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mnncorrect.nothing  # noqa: B018


@every_function_of_ours
def test_calls_follow_the_conventions(name):
    signature = inspect.signature(OURS[name])
    parameters = list(signature.parameters.values())
    positional = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert parameters[0].name == "adata"
    assert len(positional) <= 2
    assert all(p.default is p.empty for p in positional)
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters[len(positional) :])
    assert parameters[-1].name == "copy"
    assert parameters[-1].default is False
    # An embedding in an array comes back as one.
    arrays = "NDArray[Any] | pd.DataFrame | " if name == "pp.mnn_integrate" else ""
    assert signature.return_annotation == f"AnnData | {arrays}None"
    assert all(p.annotation is not p.empty for p in parameters)
    if "random_state" in signature.parameters:
        assert signature.parameters["random_state"].default == 0
    if "n_jobs" in signature.parameters:
        assert signature.parameters["n_jobs"].default is None


def test_a_parameter_has_one_default():
    defaults = {}
    for name, function in OURS.items():
        for parameter in inspect.signature(function).parameters.values():
            if parameter.name not in OWN_DEFAULTS and parameter.default is not parameter.empty:
                defaults.setdefault(parameter.name, {})[name] = parameter.default
    for parameter, by_function in defaults.items():
        assert len(set(map(repr, by_function.values()))) == 1, (parameter, by_function)


def test_defaults_of_the_api_are_those_of_the_core():
    from mnncorrect.core.calibrated.method import calibrate
    from mnncorrect.core.matrix.mixture import fit_mixture
    from mnncorrect.core.methods.classic import mnn_classic
    from mnncorrect.core.methods.cluster import mnn_cluster
    from mnncorrect.core.methods.fast import mnn_reduced

    for ours, core in (
        ("pp.mnn_calibrated", calibrate),
        ("pp.mnn_classic", mnn_classic),
        ("pp.mnn_cluster", mnn_cluster),
        ("pp.mnn_fast", mnn_reduced),
        ("pp.mnn_integrate", mnn_reduced),
        ("tl.gmm", fit_mixture),
    ):
        above = inspect.signature(OURS[ours]).parameters
        below = inspect.signature(core).parameters
        for name in above.keys() & below.keys():
            if name not in RESOLVED and below[name].default is not inspect.Parameter.empty:
                assert above[name].default == below[name].default, (ours, name)


@every_function
def test_docstrings_describe_what_the_signature_has(name):
    function = FUNCTIONS[name]
    parts = sections(function)
    assert documented(parts["Parameters"]) == list(inspect.signature(function).parameters)
    assert {"Returns", "Raises", "Examples"} <= set(parts)
    assert " : " not in "".join(documented(parts["Parameters"]))
    summary = parts["Summary"].splitlines()
    assert summary[0].endswith(".") or "[1]_" in summary[0]


@pytest.mark.parametrize("name", ["plan", "run"])
def test_the_docstring_of_a_run_describes_its_signature(name):
    function = getattr(mnncorrect, name)
    parts = sections(function)
    told = [each.lstrip("*") for each in documented(parts["Parameters"])]
    assert told == list(inspect.signature(function).parameters)
    assert {"Returns", "Raises", "Examples"} <= set(parts)


def test_a_run_has_the_defaults_of_what_it_calls():
    run = inspect.signature(mnncorrect.run).parameters
    for function in (pp.prepare, tl.gmm):
        for name, parameter in inspect.signature(function).parameters.items():
            if name in run and parameter.default is not parameter.empty:
                assert run[name].default == parameter.default, name


CORRECTIONS = [
    "pp.mnn_calibrated",
    "pp.mnn_classic",
    "pp.mnn_cluster",
    "pp.mnn_fast",
    "pp.mnn_integrate",
]
# Where the meaning differs: what is read, and what the method has no part of.
OWN_TEXTS = {"adata", "adjusted_basis", "key_added", "n_jobs", "random_state", "restrict"}


def test_a_parameter_of_several_corrections_has_one_text():
    texts = {}
    for name in CORRECTIONS:
        parts = re.split(r"^(\w.*)\n", sections(OURS[name])["Parameters"], flags=re.MULTILINE)[1:]
        for names, text in zip(parts[::2], parts[1::2], strict=True):
            texts.setdefault(names, {})[name] = text.strip()
    # Merges of calibrated follow the data, whatever the columns, where no order is given.
    for name in ("pp.mnn_calibrated", "pp.mnn_integrate"):
        del texts["key"][name], texts["merge_order"][name]
    shared = {names: by for names, by in texts.items() if names not in OWN_TEXTS and len(by) > 1}
    assert {"key", "mask_var", "merge_order", "n_neighbors", "recall"} <= set(shared)
    for names, by_function in shared.items():
        assert len(set(by_function.values())) == 1, (names, by_function)


@every_function
def test_every_function_has_examples(name):  # they run in test_doctests.py
    assert doctest.DocTestParser().get_examples(inspect.getdoc(FUNCTIONS[name]))


@pytest.mark.parametrize("name", [*FUNCTIONS, "run", "plan"])
def test_a_result_is_described_beneath_its_name(name):  # or Sphinx takes each line for a name
    function = FUNCTIONS[name] if name in FUNCTIONS else getattr(mnncorrect, name)
    lines = [line[:1].strip() for line in sections(function).get("Returns", "").splitlines()]
    assert not any(line and after for line, after in itertools.pairwise(lines))
    for line in sections(function).get("Raises", "").splitlines():
        assert not line or line.startswith(" ") or re.fullmatch(r"[A-Z]\w+(, [A-Z]\w+)*", line)


@every_function_of_ours
def test_every_function_leaves_a_copy_or_changes_in_place(name):
    returns = sections(OURS[name])["Returns"]
    assert returns.startswith("``None``, or the copy")


def test_the_core_imports_no_containers_files_or_people():
    modules = [
        module.name
        for module in pkgutil.walk_packages(
            importlib.import_module("mnncorrect.core").__path__, "mnncorrect.core."
        )
    ]
    code = (
        f"import importlib, sys; [importlib.import_module(m) for m in {modules!r}];"
        "found = {'anndata', 'pandas', 'scanpy', 'h5py', 'typer', 'rich'} & set(sys.modules);"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_parameter_without_a_text_is_refused():
    from mnncorrect._prepare.parameter_texts import shared_parameters

    def call(adata, *, copy, own, unknown):
        """Do it.

        Parameters
        ----------
        adata
            Cells.
        own
            Its own text.
        """

    with pytest.raises(KeyError, match="unknown"):
        shared_parameters(call)
    call.__doc__ = call.__doc__.replace("own\n", "own, unknown\n", 1)
    shared_parameters(call)
    assert documented(sections(call)["Parameters"]) == ["adata", "copy", "own", "unknown"]


@pytest.mark.parametrize("package", ["cli", "report"])
def test_no_private_name_of_a_public_package_is_imported(package):
    """What a command or a report needs, a public call does, or a package below."""
    root = Path(mnncorrect.__file__).parent
    for path in (root / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                for name in names:
                    private = re.match(r"mnncorrect\.(pp|tl|pl)\.(.+\.)?_", name)
                    assert not private, (str(path.relative_to(root)), name)
