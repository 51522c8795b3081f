"""The configuration, the sheet of samples, and what rules ask of them."""

import hashlib
import json
import math
import re
from pathlib import Path

import pandas as pd
import yaml
from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

validate(config, "../schemas/config.schema.yaml")
if (config["samples"] is None) == (config["input"] is None):
    msg = "the configuration names either `samples`, a sheet, or `input`, one h5ad file"
    raise WorkflowError(msg)

# What this workflow writes.
OWN = ["results/merged.h5ad", "logs"]
STEPS = ("checks", "estimates", "steps", "integrated", "scores", "reports")
OWN += [f"results/{name}" for name in STEPS]
# What names of files are not made of, and how long they may be.
UNSAFE, LONGEST = re.compile(r"[^\w.+ -]|^[.-]|[ .]$"), 100

# Older spellings of options, accepted for one release.
RENAMED = {"normalise": "normalize", "keep_normalised": "keep_normalized"}
# Options of commands are checked, but defaults are not filled in. Options at their default are not
# passed on, so each method gets only its own options.
OPTIONS = yaml.safe_load(Path(workflow.source_path("../schemas/options.schema.yaml")).read_text())
SECTIONS = tuple(OPTIONS["properties"])


def read_sheet(path):
    """The rows of the sheet, named by `sample`, or by `batch` where that names a single row."""
    separator = "," if path.lower().endswith(".csv") else "\t"
    sheet = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=False)
    sheet = sheet.rename(columns=str.strip).apply(lambda column: column.str.strip())
    validate(sheet, "../schemas/samples.schema.yaml", set_default=False)
    names = sheet["sample" if "sample" in sheet else "batch"]
    if names.duplicated().any():
        twice = ", ".join(sorted(set(names[names.duplicated()])))
        msg = (
            f"{path}: rows share the name {twice}; several files of one batch need a column"
            " `sample` that names each row"
        )
        raise WorkflowError(msg)
    folder = Path(path).parent
    files = [str(folder / name) for name in sheet["path"]]
    return sheet.assign(file=files).set_index(pd.Index(stems(names)))


def stems(names):
    """Names of files for samples: their names, where every file system takes these as they are.

    Others have what no file is called by replaced, and a digest, so that no two are the same.
    """
    found, seen = [], set()
    for name in names:
        stem = UNSAFE.sub("_", name)[:LONGEST]
        if stem != name or stem.casefold() in seen:
            stem = f"{stem}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        seen.add(stem.casefold())
        found.append(stem)
    return found


def refuse_unfit_inputs(paths):
    """Refuse an input that this workflow would write over, or whose name holds wildcards."""
    own = [Path(place).resolve() for place in OWN]
    for path in paths:
        if set(path) & set("{}"):
            msg = f"the input {path} has braces in its name, which Snakemake reads; rename it"
            raise WorkflowError(msg)
        real = Path(path).resolve()
        if any(place == real or place in real.parents for place in own):
            msg = (
                f"the input {path} is where this workflow writes its own results; move it to"
                " another folder, and name it there"
            )
            raise WorkflowError(msg)


def refuse_like_names(sets):
    """Refuse sets whose names are one on a file system that does not tell case apart."""
    seen = {}
    for name in sets:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            msg = f"the sets {other} and {name} differ only in case; rename one of them"
            raise WorkflowError(msg)


def sections_of(settings):
    """The sections of a configuration, with the current names of options."""
    sections = {name: settings.get(name) or {} for name in SECTIONS}
    return {
        name: {RENAMED.get(option, option): value for option, value in section.items()}
        for name, section in sections.items()
    }


def settings_of(name):
    """The sections of a parameter set: what holds for all, and over it what the set says."""
    common, own = sections_of(config), sections_of(config["sets"][name] or {})
    merged = {section: common[section] | own[section] for section in SECTIONS}
    validate(merged, "../schemas/options.schema.yaml", set_default=False)
    known = OPTIONS["properties"]["correct"]["properties"]
    method = merged["correct"].get("method", known["method"]["default"])
    for option, value in merged["correct"].items():
        owners = known[option].get("methods", [method])
        if method not in owners and value != known[option]["default"]:
            msg = (
                f"set {name}: the option {option} of correct belongs to method"
                f" {', '.join(owners)}, not to {method}; name it in the sets of these only"
            )
            raise WorkflowError(msg)
    return merged


SHEET = None if config["input"] else read_sheet(config["samples"])
refuse_unfit_inputs(
    [config["input"] or config["samples"], *([] if SHEET is None else SHEET["file"])]
)
refuse_like_names(config["sets"])
MERGED = config["input"] or "results/merged.h5ad"
SETS = {name: settings_of(name) for name in config["sets"]}
KEYS = config["batch_key"]
BATCH_KEYS = [KEYS] if isinstance(KEYS, str) else KEYS
# Columns of the sheet that are not covariates.
PLACES = ("path", "file", "batch", "sample")


wildcard_constraints:
    sample=r"[^/]+",
    set="|".join(map(re.escape, SETS)),


def final_output():
    """A corrected file, its scores and its report for each set, and all side by side."""
    places = ("integrated/{}.h5ad", "scores/{}.tsv", "reports/{}.html")
    files = [f"results/{place.format(name)}" for name in SETS for place in places]
    return [*files, "results/reports/comparison.html"] if len(SETS) > 1 else files


def covariates():
    """The columns that are tested for confounding with the batch."""
    if config["covariates"] is not None:
        return config["covariates"]
    if SHEET is None:
        return []
    return [name for name in SHEET if name not in PLACES and name not in BATCH_KEYS]


def words(section, settings):
    """Options of a command as words; what stands at its default is left out."""
    known = OPTIONS["properties"][section]["properties"]
    found = []
    for name, value in settings.items():
        option = name.replace("_", "-")
        if value is None or value == known[name]["default"]:
            continue
        if value is True or value is False:
            found.append(f"--{option}" if value else f"--no-{option}")
        else:
            values = value if isinstance(value, list) else [value]
            found += [f"--{option}={each}" for each in values]
    return found


def options(section):
    """A function that gives rules the options of a command for their set."""
    return lambda wildcards: words(section, SETS[wildcards.set][section])


def repeated(option, values):
    """An option once for each value, as words."""
    return [f"--{option}={value}" for value in values]


def literal(values):
    """A function that gives rules what may hold braces, which are wildcards elsewhere."""
    return lambda wildcards: values


def batch_words():
    return literal(repeated("batch-key", BATCH_KEYS))


def label_words():
    return literal([] if config["label_key"] is None else [f"--label-key={config['label_key']}"])


def components_or_corrected(wildcards):
    """Clusters are found in corrected components; `classic` corrects genes, and needs a PCA."""
    classic = SETS[wildcards.set]["correct"].get("method") == "classic"
    return f"results/steps/{wildcards.set}/{'components' if classic else 'corrected'}.h5ad"


# What the steps ask of a cluster. `correct` asks for what its dry run estimated; estimates are good
# to a factor of two. The other steps go by the size of what they read, which is compressed. Who is
# stopped for asking too little asks for more at the next attempt.
SPARE = 2
UNPACKED = 6
BASE_MB = 1500
LEAST_MINUTES = 10
MB_PER_MINUTE = 100


def estimated(wildcards, input):
    return json.loads(Path(input.estimate).read_text())


def estimated_mb(wildcards, input, attempt):
    return math.ceil(attempt * (BASE_MB + SPARE * estimated(wildcards, input)["memory_mb"]))


def estimated_minutes(wildcards, input, attempt):
    minutes = SPARE * estimated(wildcards, input)["seconds"] / 60
    return math.ceil(attempt * (LEAST_MINUTES + minutes))


def mb_by_size(wildcards, input, attempt):
    return math.ceil(attempt * (BASE_MB + UNPACKED * input.size_mb))


def minutes_by_size(wildcards, input, attempt):
    return math.ceil(attempt * (LEAST_MINUTES + input.size_mb / MB_PER_MINUTE))
