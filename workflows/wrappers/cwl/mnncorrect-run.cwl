#!/usr/bin/env cwl-runner
cwlVersion: v1.2
class: CommandLineTool
label: Remove batch effects of single-cell data by mutual nearest neighbors
doc: |
  Normalizes counts, chooses genes, computes components, corrects them and clusters the cells.
  Several inputs are joined on their shared genes; each is a batch unless batch_key names a column.
baseCommand: [mnncorrect, run]
hints:
  SoftwareRequirement:
    packages:
      mnncorrect:
        version: ["0.1.0"]
  ResourceRequirement:
    coresMin: 2
    ramMin: 4096
requirements:
  InlineJavascriptRequirement: {}
  EnvVarRequirement:
    envDef:
      NUMBA_CACHE_DIR: $(runtime.tmpdir)/numba
      MPLCONFIGDIR: $(runtime.tmpdir)/matplotlib
inputs:
  inputs:
    type: File[]
    doc: h5ad files with counts or log-normalized values
    inputBinding: {position: 1}
  batch_key:
    type: string?
    doc: Column of obs that names the batch
    inputBinding: {prefix: --batch-key=, separate: false}
  method:
    type:
      - "null"
      - {type: enum, symbols: [calibrated, fast, cluster, classic]}
    doc: Correction method; calibrated if it is not given
    inputBinding: {prefix: --method}
  clusters:
    type: string?
    doc: Column of obs with the clusters within each batch, for method cluster
    inputBinding: {prefix: --clusters=, separate: false}
  min_counts:
    type: double?
    doc: Least number of counts of a cell; others are removed
    inputBinding: {prefix: --min-counts}
  min_genes:
    type: int?
    doc: Least number of genes of a cell; others are removed
    inputBinding: {prefix: --min-genes}
  max_mito:
    type: double?
    doc: Largest percentage of mitochondrial counts of a cell; others are removed
    inputBinding: {prefix: --max-mito}
  n_top_genes:
    type: int?
    doc: Number of highly variable genes
    inputBinding: {prefix: --n-top-genes}
  regress_out:
    type:
      - "null"
      - type: array
        items: string
        inputBinding: {prefix: --regress-out=, separate: false}
    doc: Columns of obs whose effects are taken out of each gene first
  write_expression:
    type: boolean?
    doc: Write corrected expression to layers; not for method classic, which always does
    inputBinding: {prefix: --write-expression}
  expression_scale:
    type:
      - "null"
      - {type: enum, symbols: [centered, cosine, log]}
    doc: Scale of the corrected expression, for methods fast and cluster
    inputBinding: {prefix: --expression-scale}
  expression_counts:
    type: boolean?
    doc: Scale corrected log values back to counts; needs write_expression
    inputBinding: {prefix: --expression-counts}
  label_key:
    type: string?
    doc: Column of obs with cell types, for scores and maps of the report
    inputBinding: {prefix: --label-key=, separate: false}
  umap:
    type: boolean?
    doc: Compute a UMAP
    inputBinding: {prefix: --umap}
  random_state:
    type: int?
    doc: Random seed
    inputBinding: {prefix: --random-state}
  output_name:
    type: string
    default: corrected.h5ad
    doc: Name of the corrected file
    inputBinding: {prefix: --output=, separate: false}
  report_name:
    type: string?
    doc: Name of the report, such as report.html; without it, no report is written
    inputBinding: {prefix: --report=, separate: false}
  model_name:
    type: string?
    doc: Name of the model, such as atlas.mnn; without it, no model is written
    inputBinding: {prefix: --save-model=, separate: false}
arguments:
  - {prefix: --n-jobs, valueFrom: $(runtime.cores)}
outputs:
  corrected:
    type: File
    outputBinding: {glob: $(inputs.output_name)}
  report:
    type: File?
    outputBinding: {glob: "$(inputs.report_name === null ? [] : inputs.report_name)"}
  model:
    type: File?
    outputBinding: {glob: "$(inputs.model_name === null ? [] : inputs.model_name)"}
