"""Train a Transformer in parallel first, then switch to a memory decoder, as one run.

``memtx train-staged DATA_BIN --save-dir DIR --parallel-updates 2000 --train-args ...``
starts ``fairseq-train`` twice. The Transformer is kept in ``DIR/parallel``; the memory decoder, in
``DIR``, starts from its weights. The same command goes on where it was interrupted.

With ``--documents`` the second training is one of documents, the decoder's memory carried from
sentence to sentence. Its sentence-level model may then be of the same architecture.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import signal
from collections.abc import Sequence
from pathlib import Path

from fairseq_memtx import checkpoints
from fairseq_memtx.ground import command_line, cores, processes, shell
from fairseq_memtx.ground.errors import UserError

logger = logging.getLogger(__name__)

LAST = "checkpoint_last.pt"
SENTENCES, DOCUMENTS = "memtx_translation", "memtx_document_translation"


def parallel_command(args: argparse.Namespace) -> list[str]:
    """``fairseq-train`` of the Transformer."""
    command = [*_base(args), "--arch", args.parallel_arch, "--save-dir", str(parallel_folder(args))]
    # The last of equal flags counts: the number of updates is ours.
    return [*command, *args.train_args, *args.parallel_args,
            "--max-update", str(args.parallel_updates)]  # fmt: skip


def memory_command(args: argparse.Namespace) -> list[str]:
    """``fairseq-train`` of the memory decoder."""
    task = DOCUMENTS if args.documents else SENTENCES
    command = [*_base(args, task), "--arch", args.arch, "--save-dir", str(args.save_dir)]
    same = args.documents and args.arch == args.parallel_arch
    command += ["--finetune-from-model" if same else "--memtx-init-from"]
    command += [str(parallel_folder(args) / LAST)]
    return [*command, *args.train_args, *args.memory_args]


def _base(args: argparse.Namespace, task: str = SENTENCES) -> list[str]:
    user_dir = ["--user-dir", str(shell.USER_DIR)]
    return ["fairseq-train", args.data, *user_dir, "--task", task]


def parallel_folder(args: argparse.Namespace) -> Path:
    """Where the Transformer is kept."""
    return args.save_dir / "parallel"


def train(args: argparse.Namespace) -> None:
    """Run both stages, the first one only where it is not done yet."""
    if (args.save_dir / LAST).exists():
        logger.info("the switch was made before: training goes on after it")
    elif updates_of(parallel_folder(args) / LAST) >= args.parallel_updates:
        logger.info("%d updates in parallel: done before", args.parallel_updates)
    else:
        run("in parallel", parallel_command(args), args.threads)
    run("with a memory", memory_command(args), args.threads)


def updates_of(checkpoint: Path) -> int:
    """Updates that a checkpoint has seen; 0 where there is none."""
    if not checkpoint.exists():
        return 0
    return checkpoints.describe(checkpoint, checkpoints.load(checkpoint)).updates


def run(stage: str, command: list[str], threads: int) -> None:
    """Run a command of fairseq on our terminal.

    Raises:
        UserError: where it fails.
        KeyboardInterrupt: where it was interrupted, once it has saved.
    """
    logger.info("%s: %s", stage, shell.shell_line(command))
    status = processes.run_visibly(shell.executable(command), threads)
    if status - 128 in (signal.SIGINT, signal.SIGTERM):
        raise KeyboardInterrupt  # the signal came from elsewhere: fairseq has saved
    if status != 0:
        raise UserError(f"training {stage} failed: `{shell.shell_line(command)}`")


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Flags of ``memtx train-staged``."""
    parser = argparse.ArgumentParser(prog="memtx train-staged", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("data", help="fairseq's data argument")
    add("--save-dir", type=lambda name: Path(name).resolve(), required=True)
    add("--parallel-updates", type=command_line.positive_int, required=True, metavar="N",
        help="updates of the Transformer before the switch")  # fmt: skip
    add("--parallel-arch", default="transformer", help="(default: %(default)s)")
    add("--arch", default="memtx_feedback", help="after the switch (default: %(default)s)")
    add("--documents", action="store_true",
        help="train on documents after the switch, with memory from sentence to sentence; with the"
        " same architecture twice, from a model of single sentences")  # fmt: skip
    quoted = "more flags of fairseq-train, in quotes, "
    for stage, when in (("parallel", "before"), ("memory", "after")):
        add(f"--{stage}-args", type=shlex.split, default=[], metavar="'FLAGS'",
            help=f"{quoted}{when} the switch only")  # fmt: skip
    add("--threads", type=cores.thread_count, default=cores.default_threads())
    add("--train-args", nargs=argparse.REMAINDER, default=[], help="last: flags for both")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of ``memtx train-staged``."""
    args = parse_args(argv)
    return command_line.run(lambda: train(args))
