process MNNCORRECT {
    tag "${meta.id}"
    label 'process_medium'

    conda "${moduleDir}/environment.yml"
    container "${workflow.containerEngine in ['singularity', 'apptainer'] && !task.ext.singularity_pull_docker_container
        ? 'https://depot.galaxyproject.org/singularity/mnncorrect:0.1.0--pyhdfd78af_0'
        : 'biocontainers/mnncorrect:0.1.0--pyhdfd78af_0'}"

    input:
    tuple val(meta), path(h5ad)
    val batch_col
    val counts_layer

    output:
    tuple val(meta), path("${prefix}.h5ad"), emit: h5ad
    path "X_${prefix}.pkl", emit: obsm
    path "versions.yml", emit: versions, topic: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    prefix = task.ext.prefix ?: "${meta.id}"
    if ("${prefix}.h5ad" == "${h5ad}") {
        error("Input and output names are the same, use \"task.ext.prefix\" to disambiguate!")
    }
    template('mnncorrect.py')

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    if ("${prefix}.h5ad" == "${h5ad}") {
        error("Input and output names are the same, use \"task.ext.prefix\" to disambiguate!")
    }
    """
    touch ${prefix}.h5ad
    touch X_${prefix}.pkl

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        mnncorrect: \$(mnncorrect --version)
    END_VERSIONS
    """
}
