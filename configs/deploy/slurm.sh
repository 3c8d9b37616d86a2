#!/bin/bash
# One map on several nodes: a Dask scheduler, workers, and gigafcn, in one SLURM job.
#
#     sbatch configs/deploy/slurm.sh slide.svs -m model.toml -o /shared/maps
#
# Slide, model and output must be on a disk that all nodes share.  Two minutes before the time is
# up gigafcn is told to stop; it exits with 75, and the job is queued again and goes on.
# For GPUs, add the line "#SBATCH --gpus-per-task=1" and the argument --device cuda.

#SBATCH --job-name=gigafcn
#SBATCH --ntasks=4
#SBATCH --cpus-per-task=4
#SBATCH --mem-per-cpu=4G
#SBATCH --time=01:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append

set -euo pipefail
umask 077

# Certificates of this job alone: whoever reaches a Dask scheduler can run code on its workers.
work=$(mktemp -d "$PWD/.gigafcn-slurm-XXXXXXXX")
openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=gigafcn" \
    -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
tls=(--protocol tls --tls-ca-file "$work/cert.pem" --tls-cert "$work/cert.pem"
     --tls-key "$work/key.pem")

# shellcheck disable=SC2329  # the trap calls it
finish() {
    trap '' TERM
    kill "${helpers[@]}" 2>/dev/null || true
    wait || true
    rm -rf "$work"
}
helpers=()
trap finish EXIT

dask scheduler "${tls[@]}" --port 0 --no-dashboard --scheduler-file "$work/scheduler.json" &
helpers+=($!)

# Python 3.11 may hang for good in Dask's profiler.
export DASK_DISTRIBUTED__WORKER__PROFILE__ENABLED=False

# One tile at a time per worker (--nthreads 1), and a memory limit that is said: Dask would guess.
# Workers leave one after the other before the time is up, so that no tile is cut off.
srun dask worker "${tls[@]}" --scheduler-file "$work/scheduler.json" --no-dashboard \
    --nthreads 1 --memory-limit "$((SLURM_MEM_PER_CPU * SLURM_CPUS_PER_TASK * 95 / 100))MiB" \
    --lifetime 55m --lifetime-stagger 2m --local-directory "${TMPDIR:-/tmp}" &
helpers+=($!)

(
    exec gigafcn infer "$@" --scheduler-file "$work/scheduler.json" --grace 60 \
        --tls-ca "$work/cert.pem" --tls-cert "$work/cert.pem" --tls-key "$work/key.pem"
) &
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
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
