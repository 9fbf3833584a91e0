"""fairseq's own commands with our package: in the checkout, outside of it, and installed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import fairseq
import pytest

from tests.checkout import CHECKOUT

COMMANDS = Path(sys.executable).parent

TINY = "--arch memtx_feedback_tiny --decoder-layers 2 --criterion cross_entropy --optimizer adam"
TRAIN = f"{TINY} --lr 1e-3 --max-tokens 800 --num-workers 0 --no-progress-bar --cpu"


@dataclass
class Place:
    """Where a command is started and how it finds the package."""

    folder: Path
    user_dir: str
    python_path: str = ""

    def start(self, *command_line: object) -> subprocess.Popen[str]:
        command, *flags = map(str, command_line)
        if command != "python":
            flags += ["--user-dir", self.user_dir]
        return subprocess.Popen(
            [COMMANDS / command, *flags],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": self.python_path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *command_line: object, stdin: str = "") -> str:
        """What the command writes to its standard output; it must succeed."""
        process = self.start(*command_line)
        out, err = process.communicate(stdin)
        assert process.returncode == 0, out + err
        return out


@pytest.fixture(scope="module")
def site_packages(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package installed beside fairseq, as in an environment of a user."""
    site = tmp_path_factory.mktemp("site_packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    put_fairseq(site)
    return site


def put_fairseq(site: Path) -> None:
    """fairseq as a folder of its own, beside which it looks for a user-dir; its files are links."""
    ignored = shutil.ignore_patterns("__pycache__", "examples")
    installed = Path(fairseq.__file__).parent
    shutil.copytree(installed, site / "fairseq", copy_function=os.symlink, ignore=ignored)


@pytest.fixture
def checkout() -> Place:
    return Place(CHECKOUT, "fairseq_memtx")


@dataclass
class Job:
    """The arguments of fairseq's four commands for a tiny model on the sample."""

    sample: Path
    save_dir: Path

    def train(self) -> list[object]:
        flags = [*TRAIN.split(), "--max-update", 2]
        return ["fairseq-train", self.sample / "bin", *flags, "--save-dir", self.save_dir]

    def generate(self) -> list[object]:
        return self._decode("fairseq-generate", "--max-len-b", 20)

    def interactive(self) -> list[object]:
        return self._decode("fairseq-interactive", "--max-len-b", 20)

    def validate(self) -> list[object]:
        return self._decode("fairseq-validate", "--task", "translation", "--max-tokens", 800)

    def _decode(self, command: str, *flags: object) -> list[object]:
        path = self.save_dir / "checkpoint_last.pt"
        return [command, self.sample / "bin", "--path", path, "--cpu", *flags]

    def test_lines(self) -> int:
        lines = (self.sample / "refs" / "test.en").read_text(encoding="utf-8").count("\n")
        assert lines % 8, "the sample must be able to show a dropped last batch"
        return lines


@pytest.fixture
def job(prepared_sample: Path, tmp_path: Path) -> Job:
    return Job(prepared_sample, tmp_path / "run")


SENTENCES = "▁The ▁d o g .\n▁It .\n"


def hypotheses(out: str) -> int:
    return ("\n" + out).count("\nH-")


@pytest.mark.slow
def test_the_four_commands_each_in_a_process(checkout: Place, job: Job) -> None:
    assert "done training" in checkout.run(*job.train())
    generated = checkout.run(*job.generate())
    assert hypotheses(generated) == job.test_lines()
    assert "BLEU4" in generated
    assert hypotheses(checkout.run(*job.interactive(), stdin=SENTENCES)) == 2
    assert "valid on 'valid' subset | loss" in checkout.run(*job.validate())


# The four console scripts one after the other in one process, which imports fairseq only once.
FOUR_IN_ONE = """
import importlib, json, sys
for name, *arguments in json.load(open(sys.argv[1])):
    sys.argv = [name, *arguments]
    importlib.import_module("fairseq_cli." + name.removeprefix("fairseq-")).cli_main()
print("package:", sys.modules["fairseq_memtx"].__file__)
"""


@pytest.mark.parametrize(
    "where",
    [
        pytest.param("checkout", marks=pytest.mark.slow),
        pytest.param("outside", marks=pytest.mark.slow),
        pytest.param("installed", marks=pytest.mark.slow),
    ],
)
def test_the_four_commands_find_the_package(
    where: str, job: Job, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """By name in the checkout, elsewhere by path without installing, by name once installed."""
    home = CHECKOUT
    if where == "checkout":
        place = Place(CHECKOUT, "fairseq_memtx")
    elif where == "outside":
        place = Place(tmp_path, str(CHECKOUT / "fairseq_memtx"))
    else:
        home = site = request.getfixturevalue("site_packages")
        place = Place(tmp_path, "fairseq_memtx", str(site))
    jobs = [job.train(), job.generate(), job.interactive(), job.validate()]
    jobs = [[*map(str, arguments), "--user-dir", place.user_dir] for arguments in jobs]
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    out = place.run("python", "-c", FOUR_IN_ONE, tmp_path / "jobs.json", stdin=SENTENCES)
    package = Path(out.rpartition("package: ")[2].strip())
    assert package.resolve() == home / "fairseq_memtx" / "__init__.py"
    assert "done training" in out
    assert hypotheses(out) == job.test_lines() + 2 and "BLEU4" in out
    assert "valid on 'valid' subset | loss" in out


# What fairseq's commands do about `--user-dir`, and what is registered then.
BY_ITS_NAME = """
import argparse
from fairseq import models, tasks, utils
utils.import_user_module(argparse.Namespace(user_dir="fairseq_memtx"))
import fairseq_memtx, fairseq_memtx.data_prep
print("memtx_feedback" in models.ARCH_MODEL_REGISTRY, "memtx_translation" in tasks.TASK_REGISTRY)
print(fairseq_memtx.__file__)
"""
EDITABLE = "import sys, setuptools.build_meta as build; build.build_editable(sys.argv[1])"


@pytest.fixture
def editable(wheel: Path, tmp_path: Path) -> Path:
    """A folder with fairseq and what `pip install -e` of the sources beside our wheel leaves."""
    made = subprocess.run(
        [sys.executable, "-c", EDITABLE, tmp_path],
        cwd=wheel.parent / "sources",
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    (path,), site = tmp_path.glob("*.whl"), tmp_path / "site"
    with zipfile.ZipFile(path) as archive:
        archive.extractall(site)
    put_fairseq(site)
    follow = f"import site; site.addsitedir({str(site)!r})\n"  # `.pth` files, as of a true one
    (site / "sitecustomize.py").write_text(follow, encoding="utf-8")
    return site


@pytest.mark.slow
def test_the_bare_name_is_found_after_an_editable_install(
    wheel: Path, editable: Path, tmp_path: Path
) -> None:
    (tmp_path / "away").mkdir()
    place = Place(tmp_path / "away", "fairseq_memtx", str(editable))
    known, found = place.run("python", "-c", BY_ITS_NAME).splitlines()
    assert known == "True True"
    assert Path(found) == wheel.parent / "sources" / "fairseq_memtx" / "__init__.py"


@pytest.mark.slow
def test_user_errors_end_in_one_line(
    checkout: Place, prepared_sample: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "checkpoint_best.pt"
    broken.write_bytes(b"PK\x03\x04 half a checkpoint")
    process = checkout.start("fairseq-generate", prepared_sample / "bin", "--path", broken, "--cpu")
    err = process.communicate()[1]
    assert process.returncode == 1
    assert "Traceback" not in err
    last = err.rstrip().split("\n")[-1]
    assert last.startswith(f"error: `{broken}` is no whole checkpoint: it is cut short")


@pytest.mark.slow
def test_sigterm_saves_and_the_same_command_goes_on(
    checkout: Place, prepared_sample: Path, tmp_path: Path
) -> None:
    steps = [*TRAIN.split(), "--num-workers", 1, "--log-interval", 1, "--disable-validation"]
    steps += ["--arch", "transformer_tiny"]  # the quickest: it is not about the model
    command = ["fairseq-train", prepared_sample / "bin", *steps, "--save-dir", tmp_path]
    process = checkout.start(*command)
    assert process.stdout is not None
    for line in process.stdout:
        if "num_updates" in line:
            break
    process.send_signal(signal.SIGTERM)
    rest, err = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM, err
    assert "the same command goes on from there" in rest + err
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint_last.pt", "training.lock"}

    resumed = checkout.run(*command, "--max-update", 1)  # one step more, then the end
    assert f"Loaded checkpoint {tmp_path / 'checkpoint_last.pt'} (epoch " in resumed
    assert "done training" in resumed


@pytest.mark.slow
def test_two_ranks_stop_at_the_same_update_and_resume(
    checkout: Place, prepared_sample: Path, tmp_path: Path
) -> None:
    """Only one of the ranks is told to stop; resuming sends the whole state from rank 0 to 1."""
    steps = [*TRAIN.split(), "--log-interval", 1, "--disable-validation", "--save-dir", tmp_path]
    steps += ["--distributed-world-size", 2, "--distributed-backend", "gloo"]
    steps += ["--distributed-no-spawn", "--ddp-backend", "legacy_ddp"]
    steps += ["--distributed-init-method", f"file://{tmp_path / 'meeting'}"]

    def start(*more: object) -> list[subprocess.Popen[str]]:
        (tmp_path / "meeting").unlink(missing_ok=True)
        return [
            checkout.start(
                "fairseq-train", prepared_sample / "bin", *steps, *more, "--distributed-rank", rank
            )
            for rank in (0, 1)
        ]

    ranks = start("--max-epoch", 9)
    assert ranks[0].stdout is not None
    for line in ranks[0].stdout:
        if "num_updates" in line:
            break
    ranks[1].send_signal(signal.SIGTERM)
    ends = [rank.communicate() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [128 + signal.SIGTERM] * 2, ends
    assert (tmp_path / "checkpoint_last.pt").exists()

    ranks = start("--max-epoch", 1)
    ends = [rank.communicate() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], ends
    assert "(epoch 1 @ " in ends[0][0]
