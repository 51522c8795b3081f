"""The configuration, the sheet of samples, and what rules ask of them."""

import csv
import hashlib
import json
import re
import unicodedata
from pathlib import Path

# What this workflow writes.
OWN = ["results/merged.h5ad", "logs"]
STEPS = ("checks", "estimates", "steps", "integrated", "scores", "reports")
OWN += [f"results/{name}" for name in STEPS]
# What names of files are not made of, and how many bytes they may have.
UNSAFE, LONGEST = re.compile(r"[^\w.+ -]|^[.-]|[ .]$"), 100

# Older spellings of options, accepted for one release.
RENAMED = {"normalise": "normalize", "keep_normalised": "keep_normalized"}


def read_config():
    """Refuse a configuration that is not valid, with all that is wrong; fill in what is left out."""
    problems = problems_of(config, CONFIG)
    sets = config.get("sets") if isinstance(config.get("sets"), dict) else {}
    parts = [((), config), *((("sets", name), settings) for name, settings in sets.items())]
    for place, settings in parts:
        for section, given in sections_of(settings if isinstance(settings, dict) else {}).items():
            problems += problems_of(given, OPTIONS[section], (*place, section))
    refuse(problems)
    for key, spec in CONFIG["properties"].items():
        config.setdefault(key, spec.get("default"))
    if (config["samples"] is None) == (config["input"] is None):
        problems.append("give either samples, a sheet, or input, one h5ad file")
    refuse([*problems, *like_names(config["sets"])])


def sections_of(settings):
    """The sections of a configuration, with the current names of options."""
    sections = {name: settings.get(name) for name in OPTIONS}
    return {
        name: {RENAMED.get(option, option): value for option, value in section.items()}
        if isinstance(section, dict)
        else {}
        for name, section in sections.items()
    }


def like_names(sets):
    """Sets whose names are one on a file system that ignores case."""
    seen = {}
    for name in sets:
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            yield f"sets: the names {other} and {name} differ only in case; rename one of them"


def settings_of(name):
    """The sections of a parameter set: what holds for all, and over it what the set says."""
    common, own = sections_of(config), sections_of(config["sets"][name] or {})
    merged = {section: common[section] | own[section] for section in OPTIONS}
    known = OPTIONS["correct"]["properties"]
    method = merged["correct"].get("method", known["method"]["default"])
    foreign = []
    for option, value in merged["correct"].items():
        owners = known[option].get("methods", [method])
        if method not in owners and value != known[option]["default"]:
            place = f"sets.{name}.correct" if option in own["correct"] else "correct"
            foreign.append(
                f"{place}.{option}: the set {name} has method {method}, but this option belongs to"
                f" {', '.join(owners)}; write it into sets of these methods only"
            )
    refuse(foreign)
    return merged


def read_sheet(path):
    """The rows of the sheet, by name: `sample`, or `batch` where that names a single row."""
    separator = "," if path.lower().endswith(".csv") else "\t"
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            table = [[cell.strip() for cell in row] for row in csv.reader(file, delimiter=separator)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        refuse([f"it cannot be read: {error}"], where=path)
    header, *lines = [row for row in table if any(row)] or [[]]
    problems = []
    for number, line in enumerate(lines, 2):
        if len(line) != len(header):
            by = "commas" if separator == "," else "tabs"
            problems.append(
                f"row {number}: {len(line)} values, but the header has {len(header)}; separate"
                f" columns by {by}"
            )
    for column in ("path", "batch"):
        if column not in header:
            problems.append(f"there is no column {column}; it has: {', '.join(header)}")
    if not lines:
        problems.append("it has no rows; write one for each sample")
    refuse(problems, where=path)
    rows = [dict(zip(header, line)) for line in lines]
    named = "sample" if "sample" in header else "batch"
    for number, row in enumerate(rows, 2):
        empty = [column for column in dict.fromkeys(("path", "batch", named)) if not row[column]]
        problems += [f"row {number}: the column {column} is empty" for column in empty]
        row["file"] = str(Path(path).parent / row["path"])
        if is_alone() and not Path(row["file"]).exists():
            problems.append(f"row {number}: {row['file']} does not exist; paths start at the sheet")
    names = [row[named] for row in rows]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        problems.append(
            f"rows share the name {', '.join(twice)}; several files of one batch need a column"
            " sample that names each row"
        )
    refuse(problems, where=path)
    return dict(zip(stems(names), rows))


def is_alone():
    """Whether inputs must be there already: a workflow that has this as a module may make them."""
    return workflow.modifier.is_main_snakefile()


def stems(names):
    """Names of files for samples: their names, where every file system takes these as they are.

    Others have what no file is called by replaced, and a digest, so that no two are the same.
    """
    found, seen = [], set()
    for name in names:
        stem = unicodedata.normalize("NFC", UNSAFE.sub("_", name))
        stem = stem.encode()[:LONGEST].decode(errors="ignore")
        if stem != name or stem.casefold() in seen:
            stem = f"{stem}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        seen.add(stem.casefold())
        found.append(stem)
    return found


def refuse_unfit_inputs(paths):
    """Refuse an input that this workflow would write over, or whose name holds wildcards."""
    own, problems = [Path(place).resolve() for place in OWN], []
    for path in paths:
        if set(path) & set("{}"):
            problems.append(f"the input {path} has braces in its name, which Snakemake reads; rename it")
            continue
        real = Path(path).resolve()
        if any(place == real or place in real.parents for place in own):
            problems.append(
                f"the input {path} is where this workflow writes its own results; move it to"
                " another folder"
            )
    refuse(problems)


read_config()
refuse_unfit_inputs([config["samples"] or config["input"]])
SHEET = {} if config["input"] else read_sheet(config["samples"])
INPUTS = [config["input"]] if config["input"] else [row["file"] for row in SHEET.values()]
refuse_unfit_inputs(INPUTS)
MERGED = config["input"] or "results/merged.h5ad"
SETS = {name: settings_of(name) for name in config["sets"]}
KEYS = config["batch_key"]
# What the correction is written as: several workers can write zarr at once. Later steps write h5ad.
CORRECTED = "zarr" if config["workers"] else "h5ad"
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
    columns = next(iter(SHEET.values()), {})
    return [name for name in columns if name not in PLACES and name not in BATCH_KEYS]


def words(section, settings):
    """Options of a command as words; what stands at its default is left out."""
    known = OPTIONS[section]["properties"]
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


def worker_words():
    return literal([f"--workers={config['workers']}"] if config["workers"] else [])


def states_of(path):
    """Names, sizes and times of a file, or of all files of a folder (10x, zarr)."""
    path = Path(path)
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.is_file()]


def state_of_folders(paths):
    """A digest of folders among inputs: Snakemake sees only whether files came or went in these."""
    states = [state for path in paths if Path(path).is_dir() for state in states_of(path)]
    return hashlib.sha256(json.dumps(states).encode()).hexdigest() if states else None


def components_or_corrected(wildcards):
    """Clusters are found in corrected components; `classic` corrects genes, and needs a PCA."""
    classic = SETS[wildcards.set]["correct"].get("method") == "classic"
    name = "components.h5ad" if classic else f"corrected.{CORRECTED}"
    return f"results/steps/{wildcards.set}/{name}"
