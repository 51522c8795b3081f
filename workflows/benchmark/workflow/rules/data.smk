rule generate:
    output:
        "results/data/{kind}-{cells}x{features}-{batches}.{form}",
    log:
        "logs/generate/{kind}-{cells}x{features}-{batches}.{form}.log",
    params:
        script=f"{workflow.basedir}/scripts/make_data.py",
        populations=config["generator"]["populations"],
        intrinsic=config["generator"]["intrinsic"],
        shift=config["generator"]["shift"],
        seed=config["seed"],
    threads: 1
    conda:
        "../envs/benchmark.yaml"
    shell:
        "python {params.script:q} --kind {wildcards.kind} --cells {wildcards.cells}"
        " --features {wildcards.features} --batches {wildcards.batches}"
        " --populations {params.populations} --intrinsic {params.intrinsic}"
        " --shift {params.shift} --seed {params.seed} --output {output} > {log} 2>&1"


rule generate_counts:
    output:
        "results/data/counts-{cells}x{features}-{batches}.h5ad",
    log:
        "logs/generate/counts-{cells}x{features}-{batches}.log",
    params:
        script=f"{workflow.basedir}/scripts/make_counts.py",
        per_cell=lambda wildcards: round(config["generator"]["filled"] * int(wildcards.features)),
        types=config["generator"]["populations"],
        seed=config["seed"],
    threads: 1
    conda:
        "../envs/benchmark.yaml"
    shell:
        "python {params.script:q} {output} --cells {wildcards.cells} --genes {wildcards.features}"
        " --per-cell {params.per_cell} --batches {wildcards.batches} --types {params.types}"
        " --seed {params.seed} > {log} 2>&1"


rule embed_real:
    input:
        lambda wildcards: real_file(wildcards.real),
    output:
        "results/data/real-{real}.npz",
    log:
        "logs/embed_real/{real}.log",
    params:
        script=f"{workflow.basedir}/scripts/embed_real.py",
    threads: config["threads"]
    conda:
        "../envs/benchmark.yaml"
    shell:
        "python {params.script:q} --input {input:q} --output {output} > {log} 2>&1"


rule find_truth:
    input:
        "results/data/{data}.npz",
    output:
        "results/truth/{data}.npz",
    log:
        "logs/find_truth/{data}.log",
    params:
        script=f"{workflow.basedir}/scripts/find_truth.py",
        neighbors=config["n_neighbors"],
        sample=config["recall_sample"],
        seed=config["seed"],
    threads: config["threads"]
    conda:
        "../envs/benchmark.yaml"
    shell:
        "export OMP_NUM_THREADS={threads} OPENBLAS_NUM_THREADS={threads};"
        " python {params.script:q} --data {input} --neighbors {params.neighbors}"
        " --sample {params.sample} --seed {params.seed} --output {output} > {log} 2>&1"
