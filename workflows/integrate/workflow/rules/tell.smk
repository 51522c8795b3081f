rule evaluate:
    input:
        "results/steps/{set}/mapped.h5ad",
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
        mem_mb=mb_by_size,
        runtime=minutes_by_size,
    conda:
        "../envs/mnncorrect.yaml"
    shell:
        "mnncorrect evaluate {input} {params.batch:q} {params.label:q} {params.options:q}"
        " --seed {params.seed} --threads {threads} --format tsv"
        " -o {output.integrated} > {output.scores} 2> {log}"


rule report:
    input:
        "results/integrated/{set}.h5ad",
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
        mem_mb=mb_by_size,
        runtime=minutes_by_size,
    conda:
        "../envs/mnncorrect.yaml"
    shell:
        "mnncorrect report {input} {params.batch:q} {params.label:q} -o {output} 2> {log}"


rule compare:
    input:
        expand("results/integrated/{set}.h5ad", set=SETS),
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
        mem_mb=mb_by_size,
        runtime=minutes_by_size,
    conda:
        "../envs/mnncorrect.yaml"
    shell:
        "mnncorrect report {input} {params.batch:q} {params.label:q} -o {output} 2> {log}"
