process MNNCORRECT_RUN {
    tag "${meta.id}"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    container "${workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container
        ? 'https://depot.galaxyproject.org/singularity/mnncorrect:0.1.0--pyhdfd78af_0'
        : 'biocontainers/mnncorrect:0.1.0--pyhdfd78af_0'}"

    input:
    tuple val(meta), path(h5ads, stageAs: "inputs/*")
    val batch_key

    output:
    tuple val(meta), path("${prefix}.h5ad"), emit: h5ad
    tuple val(meta), path("${prefix}.html"), emit: report
    tuple val(meta), path("${prefix}.mnn"), emit: model, optional: true
    path "versions.yml", emit: versions, topic: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    def batch = batch_key ? "--batch-key='${batch_key}'" : ''
    """
    export NUMBA_CACHE_DIR=./tmp/numba MPLCONFIGDIR=./tmp/matplotlib

    mnncorrect run \\
        ${h5ads} \\
        ${batch} \\
        --output ${prefix}.h5ad \\
        --report ${prefix}.html \\
        --n-jobs ${task.cpus} \\
        ${args}

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        mnncorrect: \$(mnncorrect --version)
    END_VERSIONS
    """

    stub:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    echo "${args}"

    touch ${prefix}.h5ad
    touch ${prefix}.html

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        mnncorrect: \$(mnncorrect --version)
    END_VERSIONS
    """
}
