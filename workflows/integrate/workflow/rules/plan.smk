"""What a run will do, as `mnncorrect run --dry-run` plans it: checks before the first job, and what
the steps ask of a cluster."""

import functools
import hashlib
import json
import math
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from snakemake.logging import logger

# Plans made before the first job, by a digest of what they depend on.
KEPT = Path(".snakemake/mnncorrect")
# A plan is good to a factor of two, and a step that is stopped asks for more at its next attempt.
# BASE_MB and LEAST_MINUTES are for the interpreter and for slow disks.
SPARE, BASE_MB, LEAST_MINUTES = 2, 1500, 10


def run_words(name):
    """Options of `mnncorrect run` with which it plans all steps of a set."""
    settings = SETS[name]
    correct = dict(settings["correct"])
    guide = correct.pop("label_key", None)
    label = guide or config["label_key"]
    clusters = {
        option: value
        for option, value in settings["gmm"].items()
        if option in ("n_dims", "n_components")
    }
    return [
        *repeated("batch-key", BATCH_KEYS),
        *words("correct", correct),
        *([] if label is None else [f"--label-key={label}"]),
        *([] if guide is None else ["--guide"]),
        *words("gmm", clusters),
        *worker_words()(None),
        f"--memory-limit={config['memory_limit']}",
        f"--threads={config['threads']}",
    ]


@functools.cache
def version():
    """Ask for the version of mnncorrect, as plans of another one may differ."""
    asked = ["mnncorrect", "--version"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout


def plan_of_inputs(name):
    """Plan a set from the inputs as they are; without a plan, return what the command says."""
    if SHEET:
        inputs = [f"--sheet={config['samples']}", *words("concat", sections_of(config)["concat"])]
    else:
        inputs = []
    asked = [*inputs, *run_words(name)]
    files = [*INPUTS, *([config["samples"]] if SHEET else [])]
    states = [state for path in files for state in states_of(path)]
    digest = hashlib.sha256(json.dumps([version(), asked, states]).encode()).hexdigest()
    kept = KEPT / f"{digest}.json"
    if kept.exists():
        return json.loads(kept.read_text(encoding="utf-8")), None
    if not workflow.is_main_process:
        return None, None
    KEPT.mkdir(parents=True, exist_ok=True)
    target = KEPT / digest
    after = [f"--output={target}.{CORRECTED}", "--umap", f"--report={target}.html", "--dry-run", "--json"]
    positional = [] if SHEET else ["--", config["input"]]
    done = subprocess.run(
        ["mnncorrect", "run", *asked, *after, *positional],
        capture_output=True, text=True, encoding="utf-8", check=False,
    )
    if done.returncode:
        return None, re.split(r"^error: |^Error: (?:Invalid value: )?", done.stderr, flags=re.M)[-1].strip()
    # Sets of one plan are planned at the same time.
    part = KEPT / f"{digest}.{list(SETS).index(name)}.part"
    part.write_text(done.stdout, encoding="utf-8")
    part.replace(kept)
    return json.loads(done.stdout), None


def plans_of_inputs():
    """Plan all sets before the first job; refuse a configuration that does not fit the inputs.

    What is wrong with a sample is left to the check of this sample, so that others are checked too.
    """
    missing = [path for path in INPUTS if not Path(path).exists()]
    if missing and not SHEET and is_alone():
        refuse([f"input: {missing[0]} does not exist; paths start at {Path.cwd()}"])
    if missing or not shutil.which("mnncorrect"):
        return []
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        told = dict(zip(SETS, pool.map(plan_of_inputs, SETS)))
    problems, plans = {}, [plan for plan, _ in told.values() if plan]
    for name, (_, text) in told.items():
        if text is None:
            continue
        places = places_named(text, name)
        if SHEET and (not places or any(path in text for path in INPUTS)):
            logger.warning(f"set {name} cannot be planned yet: {text}")
        else:
            at = f"{', '.join(places) or 'input'}: {in_keys(text)}"
            problems.setdefault(at, []).append(name)
    if plans:
        problems |= dict.fromkeys(columns_missing(plans[0]["columns"]))
    refuse([f"{text} (sets: {', '.join(sets)})" if sets else text for text, sets in problems.items()])
    return plans


def columns_missing(there):
    """Columns of obs that the configuration names and no input has."""
    named = [("label_key", config["label_key"]), *(("covariates", name) for name in covariates())]
    for key, column in named:
        if column is not None and column not in there:
            close = difflib.get_close_matches(column, there, 1)
            hint = f"did you mean {close[0]}? " if close else ""
            yield f"{key}: obs has no column {column}; {hint}It has: {', '.join(there)}"


def places_named(text, name):
    """Keys of the configuration whose value or option a message names."""
    settings = {(key,): config[key] for key in ("batch_key", "label_key", "workers")}
    common = sections_of(config)
    for section, options in {**SETS[name], "concat": common["concat"]}.items():
        own = (config["sets"][name] or {}).get(section) or {}
        for option, value in options.items():
            place = ("sets", name, section, option) if option in own else (section, option)
            settings[place] = value
    # What is allowed is listed at the end, and is not what is wrong.
    said, found = re.split(r"it has:|it must|allowed", text)[0], []
    for place, value in settings.items():
        option = place[-1].replace("_", "[ _-]")
        values = value if isinstance(value, list) else [value]
        # Of a condition COLUMN=VALUE, the column.
        columns = [re.split("!?=", each)[0] for each in values if isinstance(each, str)]
        if re.search(rf"\b{option}\b", said) or any(f"'{each}'" in said for each in columns):
            found.append(dotted(place))
    return found


def in_keys(text):
    """A message of the command line with keys of the configuration for its options."""
    return re.sub(r"--([a-z][a-z0-9-]+)", lambda found: found[1].replace("-", "_"), text)


PLANS = plans_of_inputs()


def asked_mb(megabytes, attempt):
    return math.ceil(attempt * (BASE_MB + SPARE * megabytes))


def asked_minutes(seconds, attempt):
    return math.ceil(attempt * (LEAST_MINUTES + SPARE * seconds / 60))


def mb_to_read(wildcards, attempt):
    """Memory of steps that read the inputs once, in blocks: of the plan made before the first job."""
    return asked_mb(max((plan["parts"]["read"]["memory_mb"] for plan in PLANS), default=0), attempt)


def minutes_to_read(wildcards, attempt):
    return asked_minutes(max((plan["parts"]["read"]["seconds"] for plan in PLANS), default=0), attempt)


def minutes_to_check(wildcards, input, attempt):
    """Time of a look at one sample, by its share of the input; a group of these starts once."""
    total = sum(Path(path).stat().st_size for path in INPUTS if Path(path).is_file())
    share = input.size / total if total else 1.0
    seconds = max((plan["parts"]["read"]["seconds"] for plan in PLANS), default=0)
    return math.ceil(attempt * (1 + SPARE * min(1.0, share) * seconds / 60))


def mb_of_workers():
    """Memory that Dask workers may take together; a worker has 1 GB at least."""
    megabytes = {"K": 2**-10, "M": 1, "G": 2**10, "T": 2**20}[config["memory_limit"][-1]]
    return math.ceil(max(1024, float(config["memory_limit"][:-1]) * megabytes)) * (config["workers"] or 0)


def planned(part, which):
    """A function that gives a rule what the plan of its set, or the plans of all sets, estimate."""

    def asked(wildcards, input, attempt):
        # One set: its estimate. All side by side: one after the other in one process.
        paths = [input.estimate] if isinstance(input.estimate, str) else input.estimate
        parts = [json.loads(Path(path).read_text(encoding="utf-8"))["parts"][part] for path in paths]
        total = sum(found[which] for found in parts)
        if which == "seconds":
            return asked_minutes(total, attempt)
        return asked_mb(total, attempt) + (mb_of_workers() if part == "correct" else 0)

    return asked
