"""Every flag of fairseq's groups of generation, data, checkpoints and ranks, as a user gives it.

`FLAGS` has for each the command lines that try it, and what must come of them: something that can
be seen in what the command printed, logged or wrote, or a refusal in one line. `IDLE` are flags
that fairseq has for other models or reads no more: they must do no harm.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from tests.reliability.fairseq_commands import Ran

#: The groups of fairseq's parsers, and the commands whose parsers have them.
GROUPS = ("Generation", "Interactive", "dataset_data_loading", "checkpoint", "distributed_training")


@dataclass(frozen=True)
class Place:
    """Where a flag is tried.

    Attributes:
        folder: to write to; `save` in it is what a training saves to.
        plain: the same command without the flag.
    """

    folder: Path
    plain: Ran

    @property
    def saved(self) -> list[str]:
        """Names of the checkpoints of a training."""
        return sorted(path.name for path in (self.folder / "save").glob("*.pt"))

    def updates(self, name: str = "checkpoint_last.pt") -> int:
        """Updates that a checkpoint was saved after."""
        state = torch.load(self.folder / "save" / name, weights_only=True)
        return state["optimizer_history"][-1]["num_updates"]


Check = Callable[[Ran, Place], bool]


@dataclass(frozen=True)
class Case:
    """One command line.

    Attributes:
        words: what is added to the command's own; `{raw}`, `{lm}`, `{folder}` and `{data}` are put
            in.
        holds: what must be true where it works.
        refused: what the refusal says; "" where it is to work.
        command: of fairseq's.
    """

    words: str
    holds: Check | None = None
    refused: str = ""
    command: str = "generate"


class Line(NamedTuple):
    """A hypothesis that was printed."""

    score: float
    words: list[str]


def lines(ran: Ran, letter: str) -> dict[int, list[str]]:
    """What follows `H-3<tab>` and the like, by the sentence's number."""
    found: dict[int, list[str]] = {}
    for number, rest in re.findall(rf"^{letter}-(\d+)\t(.*)$", ran.out, re.M):
        found.setdefault(int(number), []).append(rest)
    return found


def hypotheses(ran: Ran) -> dict[int, list[Line]]:
    """All hypotheses by sentence."""
    return {
        number: [Line(float(text.split("\t")[0]), text.split("\t")[1].split()) for text in texts]
        for number, texts in lines(ran, "H").items()
    }


def every(ran: Ran) -> list[Line]:
    """All hypotheses."""
    return [line for some in hypotheses(ran).values() for line in some]


def of_length(least: int, most: int) -> Check:
    return lambda ran, _: all(least <= len(line.words) <= most for line in every(ran))


def times(count: int) -> Check:
    """Each sentence has so many hypotheses."""
    return lambda ran, _: {len(some) for some in hypotheses(ran).values()} == {count}


def unchanged(ran: Ran, place: Place) -> bool:
    """The hypotheses have the same words, and scores that are the same up to rounding: sums depend
    on what else is in a batch.
    """
    found, plain = hypotheses(ran), hypotheses(place.plain)
    return (
        {number: [line.words for line in some] for number, some in found.items()}
        == {number: [line.words for line in some] for number, some in plain.items()}
    ) and all(abs(one.score - other.score) < 1e-3 for one, other in by_number(found, plain))


def by_number(
    found: dict[int, list[Line]], plain: dict[int, list[Line]]
) -> Iterator[tuple[Line, Line]]:
    for number, some in found.items():
        yield from zip(some, plain[number], strict=True)


def changed(ran: Ran, place: Place) -> bool:
    """The hypotheses are others, or have other scores."""
    return not unchanged(ran, place)


def scored(penalty: float) -> Check:
    """A score is the sum over the words by their number, to a power."""

    def holds(ran: Ran, place: Place) -> bool:
        by_word = [
            [float(x) for x in text.split()] for some in lines(ran, "P").values() for text in some
        ]
        pairs = zip(every(ran), by_word, strict=True)
        return all(abs(line.score * len(ps) ** penalty - sum(ps)) < 2e-2 for line, ps in pairs)

    return holds


def begins_as(letter: str, count: int) -> Check:
    """Each hypothesis begins with the first words of another line of its sentence."""

    def holds(ran: Ran, place: Place) -> bool:
        others = lines(ran, letter)
        return all(
            line.words[:count] == others[number][0].split()[:count]
            for number, some in hypotheses(ran).items()
            for line in some
        )

    return holds


def as_long_as_the_source(ran: Ran, place: Place) -> bool:
    """Or longer by one word: fairseq counts the end with the source alone."""
    return all(
        len(line.words) - len(lines(ran, "S")[number][0].split()) in (0, 1)
        for number, some in hypotheses(ran).items()
        for line in some
    )


def without_repeats(ran: Ran, place: Place) -> bool:
    pairs = [list(zip(x.words, x.words[1:], strict=False)) for x in every(ran)]
    return all(len(set(some)) == len(some) for some in pairs)


def aligned(ran: Ran, place: Place) -> bool:
    """Each word of a hypothesis, but not its end, has its place in the source."""
    places, scores = (
        [len(text.split()) for some in lines(ran, letter).values() for text in some]
        for letter in "AP"
    )
    return len(places) > 0 and places == [number - 1 for number in scores]


def aligned_softly(ran: Ran, place: Place) -> bool:
    found = [text.split() for some in lines(ran, "A").values() for text in some]
    sums = [sum(map(float, shares.split(","))) for rows in found for shares in rows]
    return len(found) == len(every(ran)) and all(abs(x - 1) < 1e-3 for x in sums)


def copied(ran: Ran, place: Place) -> bool:
    """Where every word is made unknown, each hypothesis consists of words of its source."""
    sources = lines(ran, "S")
    return len(every(ran)) > 0 and all(
        set(line.words) <= {*sources[number][0].split(), "<eos>"}
        for number, some in hypotheses(ran).items()
        for line in some
    )


def all_kroz(ran: Ran, place: Place) -> bool:
    """The same with a dictionary in which every word has one translation."""
    words = {word for line in every(ran) for word in line.words}
    return "Kroz" in words and words <= {"Kroz", "<eos>"}


def says(text: str) -> Check:
    return lambda ran, _: text in ran.log


def silent(text: str) -> Check:
    return lambda ran, _: text not in ran.log


def count(text: str, number: int) -> Check:
    return lambda ran, _: ran.log.count(text) == number


def saves(*names: str) -> Check:
    """The checkpoints of a training are these."""
    return lambda ran, place: place.saved == sorted(f"checkpoint{name}.pt" for name in names)


def wrote(name: str, text: str) -> Check:
    return lambda ran, place: text in (place.folder / name).read_text()


def typed(words: str, holds: Check | None = None, refused: str = "") -> Case:
    return Case(words, holds, refused, "interactive")


def trained(words: str, holds: Check | None = None, refused: str = "") -> Case:
    return Case(words, holds, refused, "train")


def refused(words: str, told: str, command: str = "generate") -> Case:
    return Case(words, None, told, command)


#: Two epochs of one update each.
TWICE = "--max-epoch 2 --max-update 0 --train-subset valid --valid-subset test"

GENERATION: dict[str, tuple[Case, ...]] = {
    "--beam": (
        Case("--beam 4 --nbest 4", times(4)),
        refused("--beam 0", "--beam is 0: it has to be at least 1"),
    ),
    "--nbest": (Case("--nbest 2", times(2)),),
    "--max-len-a": (Case("--max-len-a 0.05 --max-len-b 1", of_length(1, 5)),),
    "--max-len-b": (Case("--max-len-b 3", of_length(1, 3)),),
    "--min-len": (
        Case("--min-len 8", of_length(8, 8)),
        refused("--min-len 9", "--min-len is 9: it has to be at most --max-len-b, which is 8"),
        refused("--min-len 90 --max-len-a 1", "--min-len is more than"),
    ),
    "--match-source-len": (
        Case("--match-source-len", as_long_as_the_source),
        refused("--match-source-len --sampling", "cannot be used together"),
    ),
    "--unnormalized": (Case("--unnormalized", scored(0)),),
    "--lenpen": (
        Case("--lenpen 0.5", scored(0.5)),
        refused("--lenpen 500", "--lenpen is 500"),
    ),
    "--unkpen": (Case("--unkpen=-99", lambda ran, _: all("<unk>" in x.words for x in every(ran))),),
    "--replace-unk": (
        Case("--replace-unk --unkpen=-99 --dataset-impl raw {raw}", copied),
        Case("--replace-unk --print-alignment --unkpen=-99 --dataset-impl raw {raw}", copied),
        Case(
            "--replace-unk --print-alignment soft --unkpen=-99 --dataset-impl raw {raw}",
            copied,
        ),
        Case(
            "--replace-unk {raw}/words --unkpen=-99 --dataset-impl raw {raw}",
            all_kroz,
        ),
        refused("--replace-unk", "give --dataset-impl raw"),
        refused("--replace-unk {folder}/none --dataset-impl raw {raw}", "there is no file"),
        typed("--replace-unk --unkpen=-99", copied),
        typed("--replace-unk --remove-bpe", None, "leave --post-process out"),
    ),
    "--score-reference": (
        Case(
            "--score-reference",
            lambda ran, _: all(
                " ".join(some[0].words) == lines(ran, "T")[number][0].strip()
                for number, some in hypotheses(ran).items()
            ),
        ),
        Case("--score-reference --print-alignment", aligned),
    ),
    "--prefix-size": (Case("--prefix-size 2", begins_as("T", 2)),),
    "--no-repeat-ngram-size": (Case("--no-repeat-ngram-size 2", without_repeats),),
    "--sampling": (
        Case("--sampling --nbest 2", changed),
        refused("--sampling", "--nbest is 1: with --sampling"),
    ),
    "--sampling-topk": (
        Case(
            "--sampling --nbest 2 --sampling-topk 1",
            lambda ran, _: all(a.words == b.words for a, b in hypotheses(ran).values()),
        ),
        refused("--sampling-topk 3", "is for --sampling: give that flag too"),
    ),
    "--sampling-topp": (
        Case(
            "--sampling --nbest 2 --sampling-topp 1e-6",
            lambda ran, _: all(a.words == b.words for a, b in hypotheses(ran).values()),
        ),
        refused("--sampling-topp 0.5", "is for --sampling: give that flag too"),
    ),
    "--constraints": (
        typed(
            "--constraints",
            lambda ran, _: all(
                "▁die" in some[0].words for some in list(hypotheses(ran).values())[:1]
            ),
        ),
        refused("--constraints", "only fairseq-interactive reads constraints"),
    ),
    "--temperature": (
        Case("--temperature 3", changed),
        refused("--temperature 0", "it has to be above 0"),
    ),
    "--diverse-beam-groups": (
        Case("--diverse-beam-groups 2 --beam 4 --nbest 4", times(4)),
        refused(
            "--diverse-beam-groups 3 --beam 4", "it has to be a multiple of --diverse-beam-groups"
        ),
    ),
    "--diverse-beam-strength": (
        Case(
            "--diverse-beam-groups 2 --diverse-beam-strength 9 --beam 2 --nbest 2",
            lambda ran, _: all(a.words[0] != b.words[0] for a, b in hypotheses(ran).values()),
        ),
    ),
    "--diversity-rate": (Case("--diversity-rate 5 --beam 4 --nbest 4", changed),),
    "--print-alignment": (
        Case("--print-alignment", aligned),
        Case("--print-alignment soft", aligned_softly),
        Case("--print-alignment --memtx-generator fast", aligned),
        typed("--print-alignment", aligned),
        typed("--print-alignment soft", None, "it has to be hard"),
    ),
    "--print-step": (refused("--print-step", "only --task translation_lev has steps"),),
    "--retain-iter-history": (
        refused("--retain-iter-history", "only --task translation_lev has steps"),
    ),
    "--lm-path": (
        Case("--lm-path {lm} --lm-weight 3", changed),
        refused("--lm-path {folder}/none.pt", "there is no checkpoint"),
    ),
    "--lm-weight": (Case("--lm-path {lm} --lm-weight 0", unchanged),),
    "--retain-dropout": (Case("--retain-dropout", changed),),
    "--retain-dropout-modules": (
        Case("--retain-dropout --retain-dropout-modules TransformerEncoderLayerBase", changed),
        Case("--retain-dropout --retain-dropout-modules Nothing", unchanged),
    ),
    "--no-seed-provided": (Case("--no-seed-provided", unchanged),),
    "--path": (
        refused("--path {folder}/none.pt", "there is no checkpoint"),
        Case("--path {model}:{model}", times(1)),
    ),
    "--post-process": (
        Case("--post-process sentencepiece", lambda ran, _: "▁" not in ran.out),
        Case("--remove-bpe sentencepiece", lambda ran, _: "▁" not in ran.out),
        refused("--post-process nonsense", "no way to join subwords"),
    ),
    "--quiet": (
        Case("--quiet", lambda ran, _: "H-" not in ran.out and "Generate test" in ran.out),
    ),
    "--model-overrides": (
        Case("--model-overrides \"{{'dropout':0.9}}\" --retain-dropout", changed),
        refused("--model-overrides x", "it has to be a dictionary"),
    ),
    "--results-path": (
        Case("--results-path {folder}/results", wrote("results/generate-test.txt", "\nH-13\t")),
    ),
}

INTERACTIVE: dict[str, tuple[Case, ...]] = {
    "--buffer-size": (
        typed("--buffer-size 3 --batch-size 2", unchanged),
        typed("--batch-size 2", None, "it has to be at most --buffer-size, which is 1"),
    ),
    "--input": (
        typed("--input {raw}/typed", unchanged),
        typed("--input {folder}/none", None, "name another by --input"),
    ),
}

DATA: dict[str, tuple[Case, ...]] = {
    "--num-workers": (Case("--num-workers 2", unchanged), trained("--num-workers 2")),
    "--skip-invalid-size-inputs-valid-test": (
        Case(
            "--max-source-positions 8 --skip-invalid-size-inputs-valid-test", says("are left out")
        ),
        refused("--max-source-positions 8", "--skip-invalid-size-inputs-valid-test"),
        Case(
            "--max-tokens 12 --skip-invalid-size-inputs-valid-test",
            lambda ran, _: "left out" in ran.log and 0 < len(hypotheses(ran)) < 14,
        ),
        refused("--max-tokens 12", "make that larger, or leave such sentences out"),
    ),
    "--max-tokens": (
        Case("--max-tokens 100", unchanged),
        trained("--max-tokens 12", says("more than --max-tokens (12): left out")),
        trained("--max-tokens 2", None, "no sentence is left to train on"),
        refused("--max-tokens 0", "--max-tokens is 0: it has to be at least 1"),
        typed("--max-tokens 3", unchanged),
    ),
    "--batch-size": (
        Case("--batch-size 3", unchanged),
        Case("--max-sentences 3", unchanged),
        refused("--batch-size 0", "--batch-size is 0: it has to be at least 1"),
    ),
    "--required-batch-size-multiple": (
        Case("--required-batch-size-multiple 4", unchanged),
        trained("--required-batch-size-multiple 3"),
    ),
    "--required-seq-len-multiple": (
        Case("--required-seq-len-multiple 4", unchanged),
        trained("--required-seq-len-multiple 4"),
    ),
    "--dataset-impl": (
        Case("--dataset-impl raw {raw}", lambda ran, _: len(hypotheses(ran)) == 14),
        Case("--dataset-impl mmap", unchanged),
        *(
            refused(f"--dataset-impl {kind}", "but the data was written as mmap")
            for kind in ("raw", "lazy", "cached", "fasta", "huffman")
        ),
    ),
    "--data-buffer-size": (
        Case("--data-buffer-size 0", unchanged),
        trained("--data-buffer-size 3"),
    ),
    "--train-subset": (
        trained("--train-subset valid --valid-subset test", says("valid en-de 8 examples")),
        trained("--train-subset none", None, "has no split `none`"),
    ),
    "--valid-subset": (
        trained("--valid-subset test,valid", says("valid on 'test' subset")),
        trained("--valid-subset none", None, "has no split `none`"),
        Case("--valid-subset test", says("valid on 'test' subset"), "", "validate"),
    ),
    "--combine-valid-subsets": (trained("--combine-valid-subsets {more}", says("valid1 en-de")),),
    "--ignore-unused-valid-subsets": (
        trained("--ignore-unused-valid-subsets {more}", silent("valid1 en-de")),
        trained("{more}", None, "valid1"),
    ),
    "--validate-interval": (
        trained(
            f"--validate-interval 2 {TWICE}",
            count("begin validation on", 1),
        ),
    ),
    "--validate-interval-updates": (
        trained("--validate-interval-updates 1", count("begin validation on", 3)),
    ),
    "--validate-after-updates": (
        trained("--validate-after-updates 9", count("begin validation on", 0)),
    ),
    "--fixed-validation-seed": (
        trained("--fixed-validation-seed 7", count("begin validation on", 1)),
    ),
    "--disable-validation": (trained("--disable-validation", silent("validation on")),),
    "--max-tokens-valid": (trained("--max-tokens-valid 90", count("begin validation on", 1)),),
    "--batch-size-valid": (trained("--batch-size-valid 1", says("bsz 1")),),
    "--max-valid-steps": (trained("--max-valid-steps 0 --batch-size-valid 1", says("wpb")),),
    "--curriculum": (trained("--curriculum 1"),),
    "--gen-subset": (
        Case("--gen-subset valid", lambda ran, _: len(hypotheses(ran)) == 8),
        refused("--gen-subset none", "has no split `none`"),
    ),
    "--num-shards": (
        Case("--num-shards 2 --shard-id 1", lambda ran, _: 4 < len(hypotheses(ran)) < 10),
    ),
    "--shard-id": (
        Case("--num-shards 2 --shard-id 0", lambda ran, _: 4 < len(hypotheses(ran)) < 10),
        refused("--num-shards 2 --shard-id 2", "--shard-id is 2: it has to be from 0 to 1"),
    ),
    "--grouped-shuffling": (trained("--grouped-shuffling"),),
    "--update-epoch-batch-itr": (trained("--update-epoch-batch-itr True"),),
    "--update-ordered-indices-seed": (trained("--update-ordered-indices-seed"),),
}

CHECKPOINT: dict[str, tuple[Case, ...]] = {
    "--save-dir": (
        trained(
            "--save-dir {folder}/elsewhere",
            lambda ran, place: (place.folder / "elsewhere/checkpoint_last.pt").exists(),
        ),
        trained("--save-dir {raw}/words", None, "name another by --save-dir"),
    ),
    "--restore-file": (
        trained(
            "--restore-file {model} --reset-optimizer --reset-dataloader --reset-meters",
            says("Loaded checkpoint"),
        ),
        trained("--restore-file {folder}/none.pt", None, "--restore-file has to be a checkpoint"),
    ),
    "--continue-once": (
        trained(
            "--continue-once {model} --reset-optimizer --reset-dataloader --reset-meters",
            says("Loaded checkpoint"),
        ),
        trained("--continue-once {folder}/none.pt", None, "--continue-once has to be a checkpoint"),
    ),
    "--finetune-from-model": (
        trained("--finetune-from-model {model}", says("loading pretrained model from")),
        trained(
            "--finetune-from-model {folder}/none.pt",
            None,
            "--finetune-from-model has to be a checkpoint",
        ),
    ),
    "--reset-dataloader": (trained("--reset-dataloader"),),
    "--reset-lr-scheduler": (trained("--reset-lr-scheduler"),),
    "--reset-meters": (trained("--reset-meters"),),
    "--reset-optimizer": (trained("--reset-optimizer"),),
    "--optimizer-overrides": (
        trained("--optimizer-overrides \"{{'lr':[0.5]}}\""),
        trained("--optimizer-overrides x", None, "it has to be a dictionary"),
    ),
    "--save-interval": (trained(f"--save-interval 2 {TWICE}", saves("2", "_best", "_last")),),
    "--save-interval-updates": (
        trained("--save-interval-updates 1", lambda ran, place: "checkpoint_1_2.pt" in place.saved),
    ),
    "--keep-interval-updates": (
        trained(
            "--save-interval-updates 1 --keep-interval-updates 1",
            lambda ran, place: "checkpoint_1_1.pt" not in place.saved,
        ),
    ),
    "--keep-interval-updates-pattern": (
        trained(
            "--save-interval-updates 1 --keep-interval-updates 1 --keep-interval-updates-pattern 1",
            lambda ran, place: "checkpoint_1_1.pt" in place.saved,
        ),
    ),
    "--keep-last-epochs": (trained(f"--keep-last-epochs 1 {TWICE}", saves("2", "_best", "_last")),),
    "--keep-best-checkpoints": (
        trained(
            f"--keep-best-checkpoints 1 {TWICE}",
            lambda ran, place: sum("best_loss" in x for x in place.saved) == 1,
        ),
    ),
    "--no-save": (trained("--no-save", saves()),),
    "--no-epoch-checkpoints": (
        trained(f"--no-epoch-checkpoints {TWICE}", saves("_best", "_last")),
    ),
    "--no-last-checkpoints": (trained(f"--no-last-checkpoints {TWICE}", saves("1", "2", "_best")),),
    "--no-save-optimizer-state": (
        trained(
            "--no-save-optimizer-state",
            lambda ran, place: (
                "last_optimizer_state"
                not in torch.load(place.folder / "save/checkpoint_last.pt", weights_only=True)
            ),
        ),
    ),
    "--best-checkpoint-metric": (
        trained("--best-checkpoint-metric ppl"),
        trained(
            "--best-checkpoint-metric bleu --eval-bleu --eval-bleu-args"
            ' \'{{"beam":1,"max_len_b":3}}\'',
            says("bleu"),
        ),
        trained("--best-checkpoint-metric bleu", None, "which --eval-bleu computes"),
        trained("--best-checkpoint-metric nonsense", None, "which validation does not give"),
    ),
    "--maximize-best-checkpoint-metric": (trained("--maximize-best-checkpoint-metric"),),
    "--patience": (
        trained(
            "--patience 1 --max-epoch 9 --max-update 0 --lr 0 --stop-min-lr=-1"
            " --train-subset valid --valid-subset test",
            says("early stop"),
        ),
    ),
    "--checkpoint-suffix": (
        trained("--checkpoint-suffix=-x", lambda ran, place: "checkpoint_last-x.pt" in place.saved),
        refused("--checkpoint-suffix=-x", "there is no checkpoint"),
    ),
    "--checkpoint-shard-count": (
        refused("--checkpoint-shard-count 2", "there is no checkpoint"),
        trained("--checkpoint-shard-count 2"),
    ),
    "--load-checkpoint-on-all-dp-ranks": (trained("--load-checkpoint-on-all-dp-ranks"),),
    "--write-checkpoints-asynchronously": (
        trained("--write-checkpoints-asynchronously", None, "needs the package iopath"),
        trained("--save-async", None, "needs the package iopath"),
    ),
}

RANKS: dict[str, tuple[Case, ...]] = {
    "--distributed-world-size": (
        trained("--distributed-world-size 2", None, "start the ranks one by one"),
    ),
    "--distributed-num-procs": (trained("--distributed-num-procs 1"),),
    "--distributed-rank": (trained("--distributed-rank 0"),),
    "--distributed-backend": (trained("--distributed-backend gloo"),),
    "--distributed-init-method": (
        trained(
            "--distributed-init-method file://{folder}/meeting --distributed-backend gloo"
            " --distributed-no-spawn"
        ),
    ),
    "--distributed-port": (trained("--distributed-port 12345"),),
    "--device-id": (trained("--device-id 0"), trained("--local_rank 0")),
    "--distributed-no-spawn": (trained("--distributed-no-spawn"),),
    "--ddp-backend": (
        *(
            trained(f"--ddp-backend {kind}")
            for kind in ("pytorch_ddp", "c10d", "legacy_ddp", "no_c10d", "slowmo")
        ),
        trained("--ddp-backend fully_sharded", None, "fairscale"),
    ),
    "--ddp-comm-hook": (trained("--ddp-comm-hook fp16"),),
    "--bucket-cap-mb": (trained("--bucket-cap-mb 1"),),
    "--fix-batches-to-gpus": (trained("--fix-batches-to-gpus"),),
    "--find-unused-parameters": (trained("--find-unused-parameters"),),
    "--gradient-as-bucket-view": (trained("--gradient-as-bucket-view"),),
    "--heartbeat-timeout": (trained("--heartbeat-timeout 60"),),
    "--broadcast-buffers": (trained("--broadcast-buffers"),),
    "--pipeline-model-parallel": (
        trained("--pipeline-model-parallel", None, "needs the package fairscale"),
        refused("--pipeline-model-parallel", "needs the package fairscale"),
    ),
    "--zero-sharding": (trained("--zero-sharding os", None, "fairscale"),),
    "--no-reshard-after-forward": (trained("--no-reshard-after-forward"),),
    "--fp32-reduce-scatter": (trained("--fp32-reduce-scatter"),),
    "--cpu-offload": (trained("--cpu-offload", None, "is for --ddp-backend fully_sharded"),),
    "--use-sharded-state": (
        trained("--use-sharded-state", None, "is for --ddp-backend fully_sharded"),
    ),
    "--not-fsdp-flatten-parameters": (trained("--not-fsdp-flatten-parameters"),),
}

FLAGS = {**GENERATION, **INTERACTIVE, **DATA, **CHECKPOINT, **RANKS}

#: What fairseq has for speech, for search by refinement, for some parallel trainings, or reads no
#: more. The value is what a user might give.
IDLE = {
    "--beam-mt": "3",
    "--max-len-a-mt": "1",
    "--max-len-b-mt": "3",
    "--lenpen-mt": "0.5",
    "--eos-token": "</s>",
    "--no-early-stop": "",
    "--no-beamable-mm": "",
    "--sacrebleu": "",
    "--iter-decode-eos-penalty": "1",
    "--iter-decode-max-iter": "2",
    "--iter-decode-force-max-iter": "",
    "--iter-decode-with-beam": "2",
    "--iter-decode-with-external-reranker": "",
    "--decoding-format": "vote",
    "--fast-stat-sync": "",
    "--slowmo-momentum": "0.5",
    "--slowmo-base-algorithm": "localsgd",
    "--localsgd-frequency": "2",
    "--nprocs-per-node": "1",
    "--pipeline-balance": "1",
    "--pipeline-devices": "0",
    "--pipeline-chunks": "2",
    "--pipeline-encoder-balance": "1",
    "--pipeline-encoder-devices": "0",
    "--pipeline-decoder-balance": "1",
    "--pipeline-decoder-devices": "0",
    "--pipeline-checkpoint": "never",
}
