#!/bin/bash
# scripts/samplejob.sh DIR [EPOCHS] is a training job without the training. It knows nothing
# of trainfs: it writes to DIR as to any directory, the way training frameworks do.
#
#   DIR/progress.csv                  a log that stays open and grows
#   DIR/checkpoint_000000/ …          a directory an epoch: weights, optimizer, a small text
#   DIR/latest                        a tracker, rewritten in place when a checkpoint is done
set -euo pipefail
dir=${1:?usage: samplejob.sh DIR [EPOCHS]}
epochs=${2:-3}

mkdir -p "$dir"
exec 3>>"$dir/progress.csv"
echo "epoch,loss" >&3
for ((epoch = 0; epoch < epochs; epoch++)); do
	checkpoint=$(printf 'checkpoint_%06d' "$epoch")
	mkdir "$dir/$checkpoint"
	head -c 8M /dev/urandom >"$dir/$checkpoint/model.pt"
	head -c 16M /dev/urandom >"$dir/$checkpoint/optimizer.pt"
	echo "{\"epoch\": $epoch}" >"$dir/$checkpoint/meta.json"
	echo "$epoch,0.$((9 - epoch))" >&3
	echo "$checkpoint" >"$dir/latest"
	echo "  epoch $epoch: saved $checkpoint"
done
