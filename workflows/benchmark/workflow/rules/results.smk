rule summarize:
    input:
        every_run(),
    output:
        all_runs="results/runs.tsv",
        table="results/table.tsv",
        judged="results/targets.tsv",
        report="results/benchmark.md",
    log:
        "logs/summarize.log",
    params:
        script=f"{workflow.basedir}/scripts/summarize.py",
        targets=json.dumps(config["targets"]),
        absent=absent_data(),
        measured_threads=config["threads"],
    threads: 1
    conda:
        "../envs/benchmark.yaml"
    shell:
        "python {params.script:q} --runs {input} --targets {params.targets:q}"
        " --threads {params.measured_threads} --absent {params.absent} --all-runs {output.all_runs} --table {output.table}"
        " --judged {output.judged} --report {output.report} > {log} 2>&1"


rule plot:
    input:
        "results/table.tsv",
    output:
        "results/benchmark.svg",
        "results/benchmark.png",
    log:
        "logs/plot.log",
    params:
        script=f"{workflow.basedir}/scripts/plot.py",
        cells=config["plot"]["cells"],
        batches=config["plot"]["batches"],
    threads: 1
    conda:
        "../envs/benchmark.yaml"
    shell:
        "python {params.script:q} --table {input} --cells {params.cells}"
        " --batches {params.batches} --output {output} > {log} 2>&1"


# For mnncorrect/_run/costs.py: asked for by name.
rule measure_costs:
    output:
        "results/costs.txt",
    log:
        "logs/costs.log",
    params:
        script=f"{workflow.basedir}/scripts/costs.py",
    threads: workflow.cores
    conda:
        "../envs/benchmark.yaml"
    shell:
        "python -W ignore {params.script:q} > {output} 2> {log}"
