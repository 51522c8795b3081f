# Where values and genes are read. Cells are chosen when all samples are joined, by any column.
SAMPLE_OPTIONS = {
    option: value for option, value in sections_of(config)["concat"].items() if option != "subset"
}


# What a check finds stands in its page; where it finds samples unfit, in the log as well.
rule check_sample:
    input:
        lambda wildcards: SHEET[wildcards.sample]["file"],
    output:
        "results/checks/samples/{sample}.txt",
    log:
        "logs/check_sample/{sample}.log",
    params:
        options=literal(words("concat", SAMPLE_OPTIONS)),
        memory=config["memory_limit"],
        # A folder with changed files is checked anew.
        state=lambda wildcards: state_of_folders([SHEET[wildcards.sample]["file"]]),
    threads: 1
    resources:
        mem_mb=mb_to_read,
        runtime=minutes_to_check,
        # How many of these a job of the cluster runs at once: see profiles/slurm.
        checks_at_once=1,
    conda:
        "../envs/mnncorrect.yaml"
    shell:
        "mnncorrect check {params.options:q} --memory-limit {params.memory:q} -- {input:q}"
        " > {output:q} 2> {log:q}"
        " || {{ cat {output:q} >> {log:q}; exit 1; }}"


rule concat:
    input:
        sheet=config["samples"] or [],
        files=INPUTS if SHEET else [],
        checks=expand("results/checks/samples/{sample}.txt", sample=list(SHEET)),
    output:
        "results/merged.h5ad",
    log:
        "logs/concat.log",
    params:
        options=literal(words("concat", sections_of(config)["concat"])),
        memory=config["memory_limit"],
        state=lambda wildcards: state_of_folders(INPUTS),
    threads: 1
    resources:
        mem_mb=mb_to_read,
        runtime=minutes_to_read,
    conda:
        "../envs/mnncorrect.yaml"
    shell:
        "mnncorrect concat --sheet {input.sheet:q} {params.options:q}"
        " --memory-limit {params.memory:q} -o {output:q} 2> {log:q}"


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
        memory=config["memory_limit"],
    threads: 1
    resources:
        mem_mb=mb_to_read,
        runtime=minutes_to_read,
    conda:
        "../envs/mnncorrect.yaml"
    shell:
        "mnncorrect check {params.batch:q} {params.covariates:q} --memory-limit {params.memory:q}"
        " -- {input:q} > {output:q} 2> {log:q} || {{ cat {output:q} >> {log:q}; exit 1; }}"
