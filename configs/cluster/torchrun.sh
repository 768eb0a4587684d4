#!/bin/bash
# Without SLURM: one node, and a process for each of its GPUs. All that is given goes to fit.
#   configs/cluster/torchrun.sh --config configs/data/cifar10.yaml --config configs/model/resnet18.yaml
# Several nodes: start it on each of them, with the same NODES, HEAD (name or address of the first) and ID (of this run
# alone). The folder of runs must be on a file system that all of them see.
set -eu
GPUS=${GPUS:-$(nvidia-smi --list-gpus 2>/dev/null | wc -l)}
PROCESSES=${PROCESSES:-$((GPUS > 0 ? GPUS : 1))}
NODES=${NODES:-1}
if [ "$NODES" -gt 1 ]; then
    meet=(--nnodes "$NODES" --rdzv-backend c10d --rdzv-endpoint "${HEAD:?}:29400" --rdzv-id "${ID:?}")
else
    meet=(--standalone)
fi
exec torchrun "${meet[@]}" --nproc-per-node "$PROCESSES" "$(dirname "$0")/../../train.py" fit "$@" \
    --trainer.num_nodes "$NODES" --trainer.devices "$PROCESSES"
