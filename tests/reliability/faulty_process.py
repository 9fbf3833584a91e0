"""A process in which one system call after the other fails, or kills it, while it saves.

`python -m tests.reliability.faulty_process JOB FOLDER INPUTS EVERY`, with `faults.c` preloaded,
does the job once to count its calls; then, in a child for each, with one call gone wrong in each
way, or with one of EVERY of these. It prints one line of JSON: `{"calls": "open write ...",
"tried": n, "failures": [...]}`. What the job promises is checked by the parent, in which every call
works.
"""

import contextlib
import ctypes
import errno
import io
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FAULTS = {"killed before": -1, "killed after": -2, "killed halfway": -3,
          "I/O error": errno.EIO, "no room": errno.ENOSPC, "a full disk": 1000}  # fmt: skip
KILLED = 9


@dataclass
class Job:
    """Something that writes files.

    Attributes:
        prepare: makes the folder's files as they are before.
        work: what is disturbed; returns where it went well.
        problem: what is wrong after a disturbance, whether it went well or not; "" for nothing.
        in_one_line: whether an error must be one of ours.
    """

    prepare: Callable[[Path], None]
    work: Callable[[Path], None]
    problem: Callable[[Path, bool], str]
    in_one_line: bool = True


def checkpoint_job(inputs: Path) -> Job:
    """A training's save: the checkpoint of an update, and its copy as the last one."""
    import torch
    from fairseq import checkpoint_utils
    from fairseq.file_io import PathManager

    def state(updates: int) -> dict[str, Any]:
        weights = {f"w{i}": torch.full((40, 50), float(updates)) for i in range(3)}
        return {"model": weights, "optimizer_history": [{"num_updates": updates}]}

    def save(folder: Path, updates: int) -> None:
        name = str(folder / f"checkpoint_1_{updates}.pt")
        checkpoint_utils.torch_persistent_save(state(updates), name)
        assert PathManager.copy(name, str(folder / "checkpoint_last.pt"), overwrite=True)

    def problem(folder: Path, went_well: bool) -> str:
        last = updates_of(folder / "checkpoint_last.pt")
        if last not in ([2] if went_well else [1, 2]):
            return f"the last checkpoint is of update {last}"
        for path in folder.glob("checkpoint*.pt"):
            if updates_of(path) is None:
                return f"{path.name} is damaged"
        save(folder, 2)
        return "" if updates_of(folder / "checkpoint_last.pt") == 2 else "it cannot be mended"

    return Job(lambda folder: save(folder, 1), lambda folder: save(folder, 2), problem)


def updates_of(path: Path) -> int | None:
    """The update that `checkpoint_job` saved; None of a file that is damaged, in whatever part."""
    import torch

    with contextlib.suppress(Exception):
        state = torch.load(path, weights_only=True)
        found = state["optimizer_history"][-1]["num_updates"]
        if all(bool((weight == found).all()) for weight in state["model"].values()):
            return found
    return None


def stock_checkpoint_job(inputs: Path) -> Job:
    """The same in fairseq as it was installed."""
    from fairseq import checkpoint_utils

    from fairseq_memtx import repairs

    repairs.undo()
    checkpoint_utils.time.sleep = lambda seconds: None  # between its three tries
    job = checkpoint_job(inputs)
    job.in_one_line = False
    return job


def command_job(output: str, work: Callable[[Path], int]) -> Job:
    """A command whose output is there, as it was or as it should be, and of which nothing else is
    left once it has been given again.
    """
    whole: dict[str, bytes] = {}

    def run(folder: Path) -> None:
        told = io.StringIO()
        with contextlib.redirect_stderr(told):
            status = work(folder)
        if status:
            raise OneLine(told.getvalue())

    def problem(folder: Path, went_well: bool) -> str:
        if not whole:
            whole.update(files_of(folder))
            return ""
        content = (folder / output).read_bytes()
        if content not in ([whole[output]] if went_well else [b"old", whole[output]]):
            return f"{output} is neither as it was nor as it should be"
        run(folder)
        return "" if files_of(folder) == whole else f"left: {sorted(files_of(folder))}"

    return Job(lambda folder: (folder / output).write_bytes(b"old") and None, run, problem)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class OneLine(Exception):
    """A command's error, which must be one line."""

    def __init__(self, told: str) -> None:
        errors = [line for line in told.split("\n") if line.startswith("error: ")]
        self.is_one = len(errors) == 1 and "Traceback" not in told
        super().__init__(told)


def average_job(inputs: Path) -> Job:
    from fairseq_memtx.commands import average

    model = str(inputs / "model.pt")
    return command_job(
        "new.pt", lambda folder: average.main([model, model, "--out", str(folder / "new.pt")])
    )


def quantize_job(inputs: Path) -> Job:
    from fairseq_memtx.commands import quantize

    flags = [str(inputs / "model.pt"), "--data", str(inputs / "bin")]
    return command_job(
        "small.pt", lambda folder: quantize.main([*flags, "--out", str(folder / "small.pt")])
    )


def translate_job(inputs: Path) -> Job:
    from fairseq_memtx.commands import translate

    flags = [str(inputs / "model.pt"), "--data", str(inputs / "bin"), "--threads", "1"]
    flags += ["--input", str(inputs / "text"), "--beam", "1", "--block", "4", "--max-len-b", "3"]
    flags += ["--max-len-a", "0"]
    return command_job(
        "out.de", lambda folder: translate.main([*flags, "--output", str(folder / "out.de")])
    )


def shortlist_job(inputs: Path) -> Job:
    from fairseq_memtx.commands import shortlist

    flags = [str(inputs / "bin"), "--iterations", "1"]
    return command_job(
        "list.npz", lambda folder: shortlist.main([*flags, "--out", str(folder / "list.npz")])
    )


JOBS: dict[str, Callable[[Path], Job]] = {
    "checkpoint": checkpoint_job,
    "checkpoint of stock fairseq": stock_checkpoint_job,
    "average": average_job,
    "quantize": quantize_job,
    "shortlist": shortlist_job,
    "translate": translate_job,
}


def disturbed(job: Job, folder: Path, nth: int, how: int) -> tuple[str, str]:
    """Do the job in a child whose nth call goes wrong; its calls, and what is wrong then."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    job.prepare(folder)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os._exit(child_of(job, folder, nth, how, writer))
    os.close(writer)
    with open(reader, encoding="utf-8") as pipe:
        calls = pipe.read()
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    allowed = {0, 1} if job.in_one_line else {0, 1, 2}
    if code not in (allowed | {-KILLED} if how < 0 else allowed):
        return calls, f"ended with {code}"
    try:
        return calls, job.problem(folder, code == 0)
    except Exception as error:
        return calls, f"after it: {type(error).__name__}: {error}"


def child_of(job: Job, folder: Path, nth: int, how: int, writer: int) -> int:
    """The exit status: 1 for an error in one line, 2 for any other."""
    from fairseq_memtx.ground.errors import UserError

    library = ctypes.CDLL(None)
    library.memtx_names.restype = ctypes.c_char_p
    sys.stderr = io.StringIO()
    library.memtx_arm(os.fsencode(folder), nth, how)
    try:
        job.work(folder)
        status = 0
    except (UserError, OSError):
        status = 1
    except OneLine as error:
        status = 1 if error.is_one else 2
    except BaseException:
        status = 2
        os.write(2, traceback.format_exc().encode())
    calls = library.memtx_names()
    library.memtx_arm(b"", 0, 0)
    os.write(writer, calls)
    return status


def main(name: str, folder: Path, inputs: Path, every: int) -> None:
    import torch

    import fairseq_memtx.plugin  # noqa: F401  (makes the repairs)

    torch.set_num_threads(1)
    job = JOBS[name](inputs)
    calls, problem = disturbed(job, folder, 0, 0)
    assert not problem, problem
    cases = [(*one, fault) for one in enumerate(calls.split(), start=1) for fault in FAULTS]
    failures, chosen = [], cases[::every]
    for nth, call, fault in chosen:
        _, problem = disturbed(job, folder, nth, FAULTS[fault])
        if problem:
            failures.append(f"{fault} at call {nth}, {call}: {problem}")
    print(json.dumps({"calls": calls, "tried": len(chosen), "failures": failures}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
