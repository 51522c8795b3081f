# What all steps of a set take, as the plan of the merged cells has it. The file appears whole, as it
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
        options=lambda wildcards: run_words(wildcards.set),
        # Named, as the command asks for it, and not written.
        target=lambda wildcards, output: str(Path(output[0]).with_suffix("")),
        kind=CORRECTED,
    localrule: True
    threads: 1
    resources:
        mem_mb=mb_to_read,
        runtime=minutes_to_read,
    conda:
        "../envs/mnncorrect.yaml"
    shell:
        "mnncorrect run {params.options:q} --umap --report {params.target:q}.html"
        " -o {params.target:q}.{params.kind} --dry-run --json -- {input.merged:q}"
        " > {output:q}.part 2> {log:q} && mv {output:q}.part {output:q}"


rule correct:
    input:
        merged=MERGED,
        estimate="results/estimates/{set}.json",
    output:
        temp(directory(f"results/steps/{{set}}/corrected.{CORRECTED}"))
        if config["workers"]
        else temp(f"results/steps/{{set}}/corrected.{CORRECTED}"),
    log:
        "logs/correct/{set}.log",
    params:
        batch=batch_words(),
        options=options("correct"),
        workers=worker_words(),
        memory=config["memory_limit"],
        seed=config["random_state"],
    threads: max(config["threads"], config["workers"] or 1)
    resources:
        mem_mb=planned("correct", "memory_mb"),
        runtime=planned("correct", "seconds"),
    conda:
        "../envs/mnncorrect.yaml"
    shell:
        "mnncorrect correct {params.batch:q} {params.options:q} {params.workers:q}"
        " --memory-limit {params.memory:q} --seed {params.seed} --threads {threads}"
        " -o {output:q} -- {input.merged:q} 2> {log:q}"


rule pca:
    input:
        cells=f"results/steps/{{set}}/corrected.{CORRECTED}",
        estimate="results/estimates/{set}.json",
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
        mem_mb=planned("pca", "memory_mb"),
        runtime=planned("pca", "seconds"),
    conda:
        "../envs/mnncorrect.yaml"
    shell:
        "mnncorrect pca {input.cells:q} {params.options:q} --memory-limit {params.memory:q}"
        " --seed {params.seed} --threads {threads} -o {output:q} 2> {log:q}"


rule gmm:
    input:
        cells=components_or_corrected,
        estimate="results/estimates/{set}.json",
    output:
        temp("results/steps/{set}/clustered.h5ad"),
    log:
        "logs/gmm/{set}.log",
    params:
        options=options("gmm"),
        seed=config["random_state"],
    threads: config["threads"]
    resources:
        mem_mb=planned("gmm", "memory_mb"),
        runtime=planned("gmm", "seconds"),
    conda:
        "../envs/mnncorrect.yaml"
    shell:
        "mnncorrect gmm {input.cells:q} {params.options:q} --seed {params.seed} --threads {threads}"
        " -o {output:q} 2> {log:q}"


rule umap:
    input:
        cells="results/steps/{set}/clustered.h5ad",
        estimate="results/estimates/{set}.json",
    output:
        temp("results/steps/{set}/mapped.h5ad"),
    log:
        "logs/umap/{set}.log",
    params:
        options=options("umap"),
        seed=config["random_state"],
    threads: config["threads"]
    resources:
        mem_mb=planned("umap", "memory_mb"),
        runtime=planned("umap", "seconds"),
    conda:
        "../envs/mnncorrect.yaml"
    shell:
        "mnncorrect umap {input.cells:q} {params.options:q} --seed {params.seed} --threads {threads}"
        " -o {output:q} 2> {log:q}"
