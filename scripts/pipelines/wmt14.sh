#!/usr/bin/env bash
# WMT14 English-German from the official archives to BLEU, for one decoder, in plain commands.
#
#   scripts/pipelines/wmt14.sh
#   ARCH=transformer DEPTH=6 RECIPE=plain GPUS=8 UPDATE_FREQ=1 scripts/pipelines/wmt14.sh
#   MACHINES=2 MACHINE=1 MASTER=first-machine GPUS=8 ... (on each machine, with its own number; OUT on
#   a disk that all share; those after the first only train)
#
# The same call again does what is not done yet: each stage leaves a stamp, the hash of its command
# and of the stages before it, and a training goes on where it was interrupted. DRY=1 only prints.
set -euo pipefail

OUT=${OUT:-runs/wmt14-shell}                  # everything is kept here
PREPARE=${PREPARE:-wmt14 --vocab-size 32000}  # of `memtx prepare`; --local-dir DIR: archives are there
ARCH=${ARCH:-memtx_feedback}                  # transformer, memtx_feedback, memtx_transformer_xl, ...
DEPTH=${DEPTH:-6}                             # decoder layers
RECIPE=${RECIPE:-curriculum}                  # plain, curriculum, warm, both (warm and curriculum), distilled
TEACHER_DEPTH=${TEACHER_DEPTH:-6}             # of the Transformer that `distilled` learns from
SEED=${SEED:-1}
GPUS=${GPUS:-1}                               # on each machine; 0: the CPU
MACHINES=${MACHINES:-1} MACHINE=${MACHINE:-0} MASTER=${MASTER:-localhost} PORT=${PORT:-29500}

# The base size of the papers, batches of 8 x 4,000 tokens whatever the number of GPUs.
WORKERS=$((MACHINES * (GPUS > 0 ? GPUS : 1)))
UPDATE_FREQ=${UPDATE_FREQ:-$((WORKERS < 8 ? 8 / WORKERS : 1))}
UPDATES=${UPDATES:-100000}
MODEL=${MODEL:-"--encoder-layers 6 --encoder-embed-dim 512 --decoder-embed-dim 512
    --encoder-ffn-embed-dim 2048 --decoder-ffn-embed-dim 2048
    --encoder-attention-heads 8 --decoder-attention-heads 8 --dropout 0.1 --share-all-embeddings"}
OPTIMIZER=${OPTIMIZER:-"--optimizer adam --adam-betas (0.9,0.98) --lr 7e-4 --lr-scheduler inverse_sqrt
    --warmup-updates 4000 --max-tokens 4000"}
SAVING=${SAVING:-"--save-interval-updates 2000 --keep-interval-updates 10 --keep-last-epochs 10 --patience 20"}
AVERAGE=${AVERAGE:-10}                        # checkpoints, the last ones
BEAM=${BEAM:-4} LENPEN=${LENPEN:-0.6}

USER_DIR=$(memtx user-dir)
LANGUAGES=(--source-lang en --target-lang de)
CURRICULUM=(--memtx-length-schedule competence --memtx-length-mode order)
if ((GPUS == 0)); then DEVICE=(--cpu); else DEVICE=(--fp16); fi
RANKS=()
if ((MACHINES > 1)); then
    RANKS=(--distributed-world-size $((MACHINES * GPUS)) --distributed-rank $((MACHINE * GPUS))
        --distributed-init-method "tcp://$MASTER:$PORT")
elif ((GPUS > 0)); then
    RANKS=(--distributed-world-size "$GPUS")
fi

# stage NAME COMMAND...: run the command, unless its stamp says that it is done.
BEFORE=
stage() {
    local name=$1 stamp=$OUT/stamps/$1
    shift
    BEFORE=$(printf '%q ' "$BEFORE" "$@" | sha256sum | cut -d ' ' -f 1)
    if [[ -e $stamp && $(<"$stamp") == "$BEFORE" ]]; then
        echo "--- $name: already done"
        return
    fi
    echo "--- $name: ${*@Q}"
    if [[ -n ${DRY:-} ]]; then return; fi
    "$@"
    mkdir -p "$OUT/stamps"
    echo "$BEFORE" > "$stamp.tmp"
    mv "$stamp.tmp" "$stamp"
}

# only_first NAME COMMAND...: a stage of the first machine, for which the others wait.
only_first() {
    if ((MACHINE == 0)); then stage "$@"; return; fi
    until [[ -e $OUT/stamps/$1 ]]; do sleep 5; done
}

# train FOLDER DATA ARCH DEPTH FLAGS...: a training on all machines. Only the first one stamps it.
train() {
    local folder=$1 data=$2 arch=$3 depth=$4
    shift 4
    # shellcheck disable=SC2086  # these are lists of words
    local command=(fairseq-train "$data/bin" --user-dir "$USER_DIR" --task memtx_translation
        "${LANGUAGES[@]}" --arch "$arch" --decoder-layers "$depth" $MODEL
        --criterion label_smoothed_cross_entropy --label-smoothing 0.1 $OPTIMIZER
        --update-freq "$UPDATE_FREQ" --max-update "$UPDATES" $SAVING --seed "$SEED" "$@"
        --save-dir "$folder/checkpoints" --log-format json --no-progress-bar "${DEVICE[@]}")
    if ((MACHINE > 0)); then "${command[@]}" "${RANKS[@]}"; return; fi
    stage "train-$(basename "$folder")" "${command[@]}" "${RANKS[@]}"
    stage "average-$(basename "$folder")" \
        memtx average --last "$AVERAGE" --out "$folder/averaged.pt" "$folder/checkpoints"
}

translate() {
    fairseq-generate "$DATA/bin" --user-dir "$USER_DIR" --task memtx_translation "${LANGUAGES[@]}" \
        --gen-subset test --path "$RUN/averaged.pt" --batch-size 32 --beam "$BEAM" \
        --lenpen "$LENPEN" --bpe sentencepiece \
        --sentencepiece-model "$DATA/bin/sentencepiece.bpe.model" "${DEVICE[@]}" > "$RUN/generated.tmp"
    mv "$RUN/generated.tmp" "$RUN/generated"
    memtx hypotheses --lines "$(wc -l < "$DATA/refs/test.de")" \
        < "$RUN/generated" > "$RUN/hypotheses.tmp"
    mv "$RUN/hypotheses.tmp" "$RUN/hypotheses.de"
}

score() {
    sacrebleu "$DATA/refs/test.de" -i "$RUN/hypotheses.de" -l en-de -m bleu chrf > "$RUN/score.tmp"
    mv "$RUN/score.tmp" "$RUN/score.json"
}

DATA=$OUT/data RUN=$OUT/$ARCH-d$DEPTH-$RECIPE-s$SEED FLAGS=()
# shellcheck disable=SC2086
only_first prepare memtx prepare $PREPARE --out "$DATA"

case $RECIPE in
    curriculum | both) FLAGS+=("${CURRICULUM[@]}") ;;
    plain | warm | distilled) ;;
    *) echo "RECIPE is $RECIPE: choose plain, curriculum, warm, both or distilled" >&2; exit 2 ;;
esac
case $RECIPE in
    warm | both)
        FIRST=$OUT/transformer-d$DEPTH-$RECIPE-s$SEED
        train "$FIRST" "$DATA" transformer "$DEPTH" "${FLAGS[@]}"
        FLAGS+=(--memtx-init-from "$FIRST/checkpoints/checkpoint_last.pt")
        ;;
    distilled)
        TEACHER=$OUT/transformer-d$TEACHER_DEPTH-plain-s$SEED
        train "$TEACHER" "$DATA" transformer "$TEACHER_DEPTH"
        only_first distil memtx distil --data "$DATA" --teacher "$TEACHER/averaged.pt" \
            --out "$OUT/distilled" --beam "$BEAM" --lenpen "$LENPEN" \
            --generate-args "${DEVICE[*]}"
        DATA=$OUT/distilled
        ;;
esac

train "$RUN" "$DATA" "$ARCH" "$DEPTH" "${FLAGS[@]}"
if ((MACHINE > 0)); then exit; fi
stage translate translate
stage score score
if [[ -z ${DRY:-} ]]; then cat "$RUN/score.json"; fi
