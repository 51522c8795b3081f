rule evaluate:
    input:
        cells="results/steps/{set}/mapped.h5ad",
        estimate="results/estimates/{set}.json",
    output:
        integrated="results/integrated/{set}.h5ad",
        scores=report(
            "results/scores/{set}.tsv",
            caption="../report/scores.rst",
            category="Scores",
            labels={"set": "{set}"},
        ),
    log:
        "logs/evaluate/{set}.log",
    params:
        batch=batch_words(),
        label=label_words(),
        options=options("evaluate"),
        seed=config["random_state"],
    threads: config["threads"]
    resources:
        mem_mb=planned("report", "memory_mb"),
        runtime=planned("report", "seconds"),
    conda:
        "../envs/mnncorrect.yaml"
    shell:
        "mnncorrect evaluate {input.cells:q} {params.batch:q} {params.label:q} {params.options:q}"
        " --seed {params.seed} --threads {threads} --format tsv"
        " -o {output.integrated:q} > {output.scores:q} 2> {log:q}"


rule report:
    input:
        cells="results/integrated/{set}.h5ad",
        estimate="results/estimates/{set}.json",
    output:
        report(
            "results/reports/{set}.html",
            caption="../report/set.rst",
            category="Reports",
            labels={"set": "{set}"},
        ),
    log:
        "logs/report/{set}.log",
    params:
        batch=batch_words(),
        label=label_words(),
    threads: 1
    resources:
        mem_mb=planned("report", "memory_mb"),
        runtime=planned("report", "seconds"),
    conda:
        "../envs/mnncorrect.yaml"
    shell:
        "mnncorrect report {input.cells:q} {params.batch:q} {params.label:q} -o {output:q} 2> {log:q}"


rule compare:
    input:
        cells=expand("results/integrated/{set}.h5ad", set=SETS),
        estimate=expand("results/estimates/{set}.json", set=SETS),
    output:
        report(
            "results/reports/comparison.html",
            caption="../report/comparison.rst",
            category="Reports",
            labels={"set": "all, side by side"},
        ),
    log:
        "logs/compare.log",
    params:
        batch=batch_words(),
        label=label_words(),
    threads: 1
    resources:
        mem_mb=planned("report", "memory_mb"),
        runtime=planned("report", "seconds"),
    conda:
        "../envs/mnncorrect.yaml"
    shell:
        "mnncorrect report {input.cells:q} {params.batch:q} {params.label:q} -o {output:q} 2> {log:q}"
