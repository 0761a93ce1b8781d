#!/bin/bash
# One experiment as a Slurm array; each task does every n-th unit.
#
#   sbatch --array=0-15 experiments/slurm/array.sh \
#     --config=experiments/configs/deepcd_v_11_12_21.py --dataset_root=DIR --workdir=runs/deepcd
#
# Tasks that are killed or run out of time lose the unit they are at: submit the same again.
# WORKDIR must be on a file system with flock (NFS, Lustre mounted with -o flock, or a local disk).
#SBATCH --job-name=cdjax
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --output=cdjax-%A_%a.log

set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
# Programs compiled by one task are read by the others.
export JAX_COMPILATION_CACHE_DIR="${JAX_COMPILATION_CACHE_DIR:-$HOME/.cache/cdjax/programs}"
exec python experiments/run_benchmark.py "$@" \
  --shard_index="$((SLURM_ARRAY_TASK_ID - SLURM_ARRAY_TASK_MIN))" \
  --num_shards="$SLURM_ARRAY_TASK_COUNT"
