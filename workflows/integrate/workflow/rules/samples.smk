# What a check finds stands in its page; where it finds samples unfit, in the log as well.
rule check_sample:
    input:
        lambda wildcards: SHEET.loc[wildcards.sample, "file"],
    output:
        "results/checks/samples/{sample}.txt",
    log:
        "logs/check_sample/{sample}.log",
    threads: 1
    resources:
        mem_mb=mb_by_size,
        runtime=minutes_by_size,
    conda:
        "../envs/mnncorrect.yaml"
    shell:
        "mnncorrect check {input:q} > {output:q} 2> {log:q}"
        " || {{ cat {output:q} >> {log:q}; exit 1; }}"


rule concat:
    input:
        sheet=config["samples"] or [],
        files=[] if SHEET is None else list(SHEET["file"]),
        checks=[] if SHEET is None else expand("results/checks/samples/{sample}.txt", sample=SHEET.index),
    output:
        "results/merged.h5ad",
    log:
        "logs/concat.log",
    params:
        options=literal(words("concat", sections_of(config)["concat"])),
        memory=config["memory_limit"],
    threads: 1
    resources:
        mem_mb=mb_by_size,
        runtime=minutes_by_size,
    conda:
        "../envs/mnncorrect.yaml"
    shell:
        "mnncorrect concat --sheet {input.sheet:q} {params.options:q}"
        " --memory-limit {params.memory:q} -o {output} 2> {log}"


rule check:
    input:
        MERGED,
    output:
        report(
            "results/checks/merged.txt",
            caption="../report/check.rst",
            category="Input",
        ),
    log:
        "logs/check.log",
    params:
        batch=batch_words(),
        covariates=literal(repeated("covariate", covariates())),
    threads: 1
    resources:
        mem_mb=mb_by_size,
        runtime=minutes_by_size,
    conda:
        "../envs/mnncorrect.yaml"
    shell:
        "mnncorrect check {input:q} {params.batch:q} {params.covariates:q} > {output} 2> {log}"
        " || {{ cat {output} >> {log}; exit 1; }}"
