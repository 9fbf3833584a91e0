"""The command lines behind an experiment: data_prep, fairseq-train and fairseq-generate.

Each function returns a list of words as they would be typed in a shell, so that the same line is
run, saved with the run's settings, and shown in the documentation.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from fairseq_memtx.decoders import DECODERS
from fairseq_memtx.ground import shell
from scripts.experiment.configs import Decoding, Experiment, Model
from scripts.experiment.folders import Run
from scripts.experiment.recipes import RECIPES


def prepare_command(experiment: Experiment, out: Path, corpora: Path | None) -> list[str]:
    """``python -m data_prep ...`` for the experiment's data, written to ``out``."""
    data = experiment.data
    command = ["python", "-m", "data_prep", data.command, "--out", str(out)]
    command += ["--vocab-size", str(data.vocab_size)]
    if data.documents is not None:
        command += ["--documents", str(data.documents)]
    if data.command == "parallel":
        assert corpora is not None
        command += ["--train", *map(str, train_prefixes(experiment, corpora))]
        command += ["--valid", str(corpora / data.valid), "--test", str(corpora / data.test)]
        command += ["--source-lang", data.source_lang, "--target-lang", data.target_lang]
    elif data.command == "wmt14" and corpora is not None:
        command += ["--local-dir", str(corpora)]
    return command


def train_prefixes(experiment: Experiment, corpora: Path) -> list[Path]:
    """Prefixes of the training text, patterns resolved, in a fixed order."""
    ending = f".{experiment.data.source_lang}"
    prefixes = []
    for pattern in experiment.data.train:
        if "*" not in pattern:
            prefixes.append(corpora / pattern)
            continue
        found = {*corpora.glob(f"{pattern}{ending}"), *corpora.glob(f"{pattern}{ending}.gz")}
        stems = {path.with_name(path.name.removesuffix(".gz")) for path in found}
        prefixes += sorted(path.with_name(path.name.removesuffix(ending)) for path in stems)
    return prefixes


def train_command(
    experiment: Experiment,
    data_bin: Path,
    save_dir: Path,
    run: Run,
    init_from: Path | None = None,
) -> list[str]:
    """``fairseq-train`` for one run; the same line starts it and resumes it.

    ``init_from`` is the checkpoint of a Transformer whose weights the recipe begins from.
    """
    data, model = experiment.data, experiment.model.at_width(run.width)
    entry, recipe = DECODERS[run.decoder], RECIPES[run.recipe]
    command = ["fairseq-train", str(data_bin), *_user_dir(), "--task", shell.TASK]
    command += ["--source-lang", data.source_lang, "--target-lang", data.target_lang]
    command += ["--arch", entry.architecture, "--decoder-layers", str(run.depth)]
    command += [*_model_flags(model), *entry.experiment_flags(model.segment_len)]
    command += _training_flags(experiment, entry.criterion)
    command += [*recipe.flags, "--save-dir", str(save_dir), "--seed", str(run.seed)]
    command += ["--memtx-init-from", str(init_from)] if init_from else []
    return command + [*_device_flags(experiment), *experiment.training.extra]


def distil_command(
    experiment: Experiment, data: Path, teacher: Path, out: Path, jobs: int, threads: int
) -> list[str]:
    """``memtx distil``: a teacher's translations as training targets, in a layout of their own."""
    command = ["python", "-m", "fairseq_memtx", "distil", "--data", str(data)]
    command += ["--teacher", str(teacher), "--out", str(out)]
    command += ["--beam", str(experiment.decoding.beam)]
    command += ["--lenpen", str(experiment.decoding.lenpen)]
    command += ["--jobs", str(jobs), "--threads", str(threads)]
    return command + ["--generate-args", shlex.join(_device_flags(experiment))]


def _model_flags(model: Model) -> list[str]:
    flags = ["--encoder-layers", str(model.encoder_layers), "--share-all-embeddings"]
    for side in ("encoder", "decoder"):
        flags += [f"--{side}-embed-dim", str(model.embed_dim)]
        flags += [f"--{side}-ffn-embed-dim", str(model.ffn_dim)]
        flags += [f"--{side}-attention-heads", str(model.heads)]
        flags += [f"--{side}-normalize-before"] if model.pre_norm else []
    return [*flags, "--dropout", str(model.dropout)]


def _training_flags(experiment: Experiment, criterion: str) -> list[str]:
    training = experiment.training
    flags = ["--criterion", criterion]
    flags += ["--label-smoothing", str(training.label_smoothing)]
    flags += ["--optimizer", "adam", "--adam-betas", "(0.9, 0.98)"]
    flags += ["--weight-decay", str(training.weight_decay)]
    flags += ["--clip-norm", str(training.clip_norm), "--lr", str(training.lr)]
    flags += ["--lr-scheduler", "inverse_sqrt", "--warmup-updates", str(training.warmup_updates)]
    flags += ["--max-tokens", str(training.max_tokens), "--update-freq", str(training.update_freq)]
    flags += ["--max-epoch", str(training.max_epoch)] if training.max_epoch else []
    flags += ["--max-update", str(training.max_update)] if training.max_update else []
    if experiment.device == "cpu" and training.cpu_math != "torch":
        flags += ["--memtx-cpu-math", training.cpu_math]
    flags += ["--patience", str(training.patience)] if training.patience else []
    flags += ["--keep-last-epochs", str(training.keep_last_epochs)]
    if training.save_interval_updates:
        flags += ["--save-interval-updates", str(training.save_interval_updates)]
        flags += ["--keep-interval-updates", str(training.keep_interval_updates)]
    flags += ["--no-progress-bar", "--log-format", "json"]
    flags += ["--log-interval", str(training.log_interval), "--num-workers", "0"]
    return flags


def generate_command(
    experiment: Experiment, data_bin: Path, checkpoint: Path, tokenizer: str = "none"
) -> list[str]:
    """``fairseq-generate`` with subwords (and Moses' tokens, where ``tokenizer`` is ``moses``)
    undone: its D- lines are detokenised text.
    """
    data = experiment.data
    command = ["fairseq-generate", str(data_bin), *_user_dir(), "--task", "translation"]
    command += ["--source-lang", data.source_lang, "--target-lang", data.target_lang]
    command += ["--gen-subset", "test", "--path", str(checkpoint)]
    command += ["--batch-size", str(experiment.decoding.batch_size)]
    command += search_flags(experiment.decoding)
    command += ["--bpe", "sentencepiece", "--sentencepiece-model"]
    command += [str(data_bin / "sentencepiece.bpe.model"), "--no-progress-bar"]
    command += ["--tokenizer", tokenizer] if tokenizer != "none" else []
    return command + _device_flags(experiment)


def measure_command(
    experiment: Experiment,
    data_bin: Path,
    systems: dict[str, Path],
    out: Path,
    threads: int,
    tokenizer: str = "none",
) -> list[str]:
    """``python -m scripts.shared.measure`` for all systems, by name and checkpoint."""
    decoding = experiment.decoding
    command = [
        "python",
        "-m",
        "scripts.shared.measure",
        "--data-bin",
        str(data_bin),
        "--out",
        str(out),
    ]
    for name, checkpoint in systems.items():
        command += ["--system", f"{name}={checkpoint}"]
    command += ["--batches", ",".join(map(str, decoding.speed_batches))]
    command += ["--lines-single", str(decoding.speed_lines_single)]
    command += ["--lines-batched", str(decoding.speed_lines_batched)]
    command += ["--repeats", str(decoding.repeats), "--threads", str(threads)]
    # What fairseq-generate is told, but for the data, the model and the size of a batch.
    generate = generate_command(experiment, data_bin, Path("unused"), tokenizer)
    flags = without(without(generate[2:], "--path"), "--batch-size")
    return [*command, "--fairseq-args", *flags]


def without(words: list[str], flag: str) -> list[str]:
    """A command line without a flag and its value."""
    if flag not in words:
        return list(words)
    at = words.index(flag)
    return words[:at] + words[at + 2 :]


def told(words: Sequence[str], folder: Path) -> list[str]:
    """A command line as it is published and compared: wherever the experiment's ``folder`` is, its
    files are told as below ``runs/``; of other places only the last name.
    """
    return [_told_word(word, folder) for word in words]


def _told_word(word: str, folder: Path) -> str:
    name, equals, value = word.partition("=")  # such as NAME=CHECKPOINT
    if equals and Path(value).is_absolute():
        return f"{name}={_told_word(value, folder)}"
    path = Path(word)
    if path.is_absolute() and path.is_relative_to(folder):
        return (Path("runs") / folder.name / path.relative_to(folder)).as_posix()
    return shell.relative(word)


def search_flags(decoding: Decoding) -> list[str]:
    """fairseq's flags of the beam search."""
    flags = ["--beam", str(decoding.beam), "--lenpen", str(decoding.lenpen)]
    return [*flags, "--max-len-a", str(decoding.max_len_a), "--max-len-b", str(decoding.max_len_b)]


def _user_dir() -> list[str]:
    return ["--user-dir", str(shell.USER_DIR)]


def _device_flags(experiment: Experiment) -> list[str]:
    if experiment.device == "cpu":
        return ["--cpu"]
    return ["--fp16"] if experiment.training.fp16 else []
