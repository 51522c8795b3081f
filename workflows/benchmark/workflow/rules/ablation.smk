rule ablate:
    input:
        ablation_data(),
    output:
        table="results/ablation.tsv",
        means="results/ablation.txt",
    log:
        "logs/ablate.log",
    params:
        script=f"{workflow.basedir}/scripts/ablate.py",
        seeds=config["ablation"]["null_seeds"],
    threads: config["threads"]
    conda:
        "../envs/benchmark.yaml"
    shell:
        "python -W ignore {params.script:q} --data {input} --output {output.table}"
        " --null-seeds {params.seeds} --threads {threads} > {output.means} 2> {log}"
