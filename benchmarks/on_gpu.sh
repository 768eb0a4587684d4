#!/usr/bin/env bash
# All that needs a GPU, in at most nine minutes of one: tests, input, the loop's cost, precision and compilation, and a
# stack from scratch. Each step has a limit of its own, and its output is written as it goes.
#
#   benchmarks/on_gpu.sh RESULTS [rehearse]
#
# RESULTS gets a log for each step and summary.txt. `rehearse` runs all steps at a tiny size on the CPU. PYTHON names the
# Python to use, DATA_ROOT the folder of CIFAR-10's JPEGs (data/cifar10-jpeg), RUN_ROOT that of the runs (runs).
set -u
cd "$(dirname "$0")/.."
results=$(mkdir -p "$1" && cd "$1" && pwd)
rehearse=${2:-}
python=${PYTHON:-python3}
summary=$results/summary.txt
failed=0
: >"$summary"

# step NAME SECONDS COMMAND...: run it, and write down how it ended, how long it took, and its last line
step() {
    local name=$1 limit=$2 started=$SECONDS status last
    shift 2
    # a CPU that others use too takes longer
    [ -z "$rehearse" ] || limit=$((5 * limit))
    timeout --signal INT --kill-after 10 "$limit" "$@" >"$results/$name.log" 2>&1
    status=$?
    case $status in
    0) status=ok ;;
    124 | 137) status="cut off at $limit s" failed=1 ;;
    *) status="failed with status $status" failed=1 ;;
    esac
    last=$(grep -v '^[[:space:]]*$' "$results/$name.log" | tail -n 1)
    echo "$name: $status, $((SECONDS - started)) s: $last" | tee -a "$summary"
}

"$python" - <<'EOF' | tee -a "$summary"
import torch, torchvision, lightning, timm
device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
print(f"{device}; torch {torch.__version__}, torchvision {torchvision.__version__}, lightning {lightning.__version__}, timm {timm.__version__}")
EOF

if [ -z "$rehearse" ]; then
    device=cuda accelerator=gpu stack=()
    input=(--repeats 3 --images 10000) tax=(--repeats 1)
    compute=(--families resnet_18 --repeats 5 --seconds 0.3 --compile)
else
    device=cpu accelerator=cpu
    input=(--quick --repeats 2) tax=(--images 3000 --repeats 1) compute=(--quick)
    stack=(--options.trainer.max_steps 2 --options.data.val_fraction 0.2 --options.data.stack_fraction 0.2
        --options.data.cache ram --options.model.stem imagenet --experiment gpu_rehearsal)
fi

mapfile -t tests < <(grep -rl 'mark.gpu' tests | sort)
# among the tests is a fit in whose steps no wait for the GPU is allowed
step tests 50 "$python" -m pytest -m gpu -p no:cacheprovider -rs "${tests[@]}"
step input_pipeline 60 "$python" benchmarks/input_pipeline.py --device "$device" "${input[@]}"
step framework_tax 80 "$python" benchmarks/framework_tax.py --device "$device" --only "MLP 256" "${tax[@]}"
step compute 100 "$python" benchmarks/compute.py --device "$device" "${compute[@]}"
step stack 250 "$python" train.py stack --config configs/stack/gpu_cifar10_quick.yaml \
    --options.trainer.accelerator "$accelerator" --options.data.root "${DATA_ROOT:-data/cifar10-jpeg}" \
    --root "${RUN_ROOT:-runs}" "${stack[@]}"
exit $failed
