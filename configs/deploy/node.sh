#!/bin/bash
# One node: a worker per GPU that is visible, each pinned to its own; without GPUs one process.
#
#     bash configs/deploy/node.sh slides/*.svs -m model.toml -o maps
#
# WORKERS=8 starts eight workers on the processors instead.  CUDA_VISIBLE_DEVICES=0,1 leaves the
# other GPUs to others.  On a machine that can be taken away, run it again when it is back.

set -euo pipefail

exec gigafcn infer ${WORKERS:+--workers "$WORKERS"} "$@"
