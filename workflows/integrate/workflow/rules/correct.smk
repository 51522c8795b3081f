# What the correction would take, from sizes alone: `correct` asks for it. It appears whole, as it
# is read before a run that was killed has gone on.
rule estimate:
    input:
        merged=MERGED,
        check="results/checks/merged.txt",
    output:
        "results/estimates/{set}.json",
    log:
        "logs/estimate/{set}.log",
    params:
        batch=batch_words(),
        options=options("correct"),
        memory=config["memory_limit"],
        threads=config["threads"],
        # Named, as the command asks for it, and not written.
        target=lambda wildcards, output: Path(output[0]).with_suffix(".h5ad"),
    localrule: True
    threads: 1
    resources:
        mem_mb=BASE_MB,
        runtime=LEAST_MINUTES,
    conda:
        "../envs/mnncorrect.yaml"
    shell:
        "mnncorrect correct {input.merged:q} {params.batch:q} {params.options:q}"
        " --memory-limit {params.memory:q} --threads {params.threads} --dry-run --json"
        " -o {params.target} > {output}.part 2> {log} && mv {output}.part {output}"


rule correct:
    input:
        merged=MERGED,
        estimate="results/estimates/{set}.json",
    output:
        temp("results/steps/{set}/corrected.h5ad"),
    log:
        "logs/correct/{set}.log",
    params:
        batch=batch_words(),
        options=options("correct"),
        memory=config["memory_limit"],
        seed=config["random_state"],
    threads: config["threads"]
    resources:
        mem_mb=estimated_mb,
        runtime=estimated_minutes,
    conda:
        "../envs/mnncorrect.yaml"
    shell:
        "mnncorrect correct {input.merged:q} {params.batch:q} {params.options:q}"
        " --memory-limit {params.memory:q} --seed {params.seed} --threads {threads}"
        " -o {output} 2> {log}"


rule pca:
    input:
        "results/steps/{set}/corrected.h5ad",
    output:
        temp("results/steps/{set}/components.h5ad"),
    log:
        "logs/pca/{set}.log",
    params:
        options=options("pca"),
        memory=config["memory_limit"],
        seed=config["random_state"],
    threads: config["threads"]
    resources:
        mem_mb=mb_by_size,
        runtime=minutes_by_size,
    conda:
        "../envs/mnncorrect.yaml"
    shell:
        "mnncorrect pca {input} {params.options:q} --memory-limit {params.memory:q}"
        " --seed {params.seed} --threads {threads} -o {output} 2> {log}"


rule gmm:
    input:
        components_or_corrected,
    output:
        temp("results/steps/{set}/clustered.h5ad"),
    log:
        "logs/gmm/{set}.log",
    params:
        options=options("gmm"),
        seed=config["random_state"],
    threads: config["threads"]
    resources:
        mem_mb=mb_by_size,
        runtime=minutes_by_size,
    conda:
        "../envs/mnncorrect.yaml"
    shell:
        "mnncorrect gmm {input} {params.options:q} --seed {params.seed} --threads {threads}"
        " -o {output} 2> {log}"


rule umap:
    input:
        "results/steps/{set}/clustered.h5ad",
    output:
        temp("results/steps/{set}/mapped.h5ad"),
    log:
        "logs/umap/{set}.log",
    params:
        options=options("umap"),
        seed=config["random_state"],
    threads: config["threads"]
    resources:
        mem_mb=mb_by_size,
        runtime=minutes_by_size,
    conda:
        "../envs/mnncorrect.yaml"
    shell:
        "mnncorrect umap {input} {params.options:q} --seed {params.seed} --threads {threads}"
        " -o {output} 2> {log}"
