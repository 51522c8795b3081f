# A run measures every tool in turn, so that a busy moment of the machine hits them alike. It asks
# for all cores, so that nothing else of the workflow runs beside it; the tools get `threads`.
rule measure:
    input:
        unpack(inputs_of_measure),
    output:
        "results/runs/{scenario}/{data}/{run}.jsonl",
    log:
        "logs/measure/{scenario}/{data}/{run}.log",
    params:
        script=f"{workflow.basedir}/scripts/measure.py",
        spec=spec_of,
        others=lambda wildcards, input: [
            word
            for name in ("truth", "warm_up_data")
            if name in input.keys()
            for word in (f"--{name.replace('_', '-')}", input[name])
        ],
        threads=config["threads"],
        neighbors=config["n_neighbors"],
    threads: workflow.cores
    conda:
        "../envs/benchmark.yaml"
    shell:
        "python {params.script:q} --scenario {wildcards.scenario} --spec {params.spec:q}"
        " --data {input.data} {params.others:q} --run {wildcards.run}"
        " --neighbors {params.neighbors} --threads {params.threads}"
        " --numba-cache results/numba --log {log} --output {output} >> {log} 2>&1"
