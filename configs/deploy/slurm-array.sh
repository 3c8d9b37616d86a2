#!/bin/bash
# Many slides, one per task of a SLURM array; nothing but a shared disk connects them.
#
#     ls /shared/slides/*.svs > slides.txt
#     sbatch --array=1-"$(wc -l < slides.txt)"%20 configs/deploy/slurm-array.sh slides.txt \
#         -m model.toml -o /shared/maps
#
# A task whose time is up exits with 75 and is queued again; it goes on with its unfinished map.
# gigafcn keeps to the memory and processors that SLURM grants a task.
# For GPUs, add the line "#SBATCH --gpus=1".

#SBATCH --job-name=gigafcn
#SBATCH --cpus-per-task=8
#SBATCH --mem=16G
#SBATCH --time=02:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append

set -euo pipefail

list=$1
shift
slide=$(sed -n "${SLURM_ARRAY_TASK_ID}p" "$list")
if [[ -z $slide ]]; then
    echo "$list has no line $SLURM_ARRAY_TASK_ID" >&2
    exit 2
fi

(exec gigafcn infer "$slide" "$@" --grace 60) &
driver=$!

asked=
trap 'asked=yes; kill -TERM "$driver" 2>/dev/null || true' TERM
code=0
wait "$driver" || code=$?
if [[ $asked && $code -gt 128 ]]; then # that was the signal; now for gigafcn's own answer
    code=0
    wait "$driver" || code=$?
fi
if [[ $code -eq 75 ]]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
fi
exit "$code"
