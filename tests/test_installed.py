"""The wheel in a fresh environment: raw text to raw text by `memtx` and `fairseq-train` alone.

The environment holds our wheel and sees the libraries of the running interpreter, but not the
checkout; everything runs from an empty folder. A line of text is an English number, or its German
name, so that a model of some thousand weights learns in a few updates what can be checked.
"""

import importlib.metadata
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import fairseq
import pytest
from filelock import FileLock

NUMBERS = {
    "one": "eins", "two": "zwei", "three": "drei", "four": "vier", "five": "fuenf",
    "six": "sechs", "seven": "sieben", "eight": "acht", "nine": "neun", "ten": "zehn",
}  # fmt: skip
#: Lines of each split.
LINES = {"train": 300, "valid": 10, "test": 12}
ENOUGH = 10  # right lines of the test set; by chance there would be one or two
# With more beams than words are likely, fairseq's search would end before the long words do.
SEARCH = "--beam 1"
SIZES = "--encoder-layers 1 --decoder-layers 1"
SIZES += "".join(
    f" --{side}-{part}embed-dim 32" for side in ("encoder", "decoder") for part in ("", "ffn-")
)
LEARNING = "--optimizer adam --lr 0.005 --dropout 0 --batch-size 60 --cpu --num-workers 0"
LEARNING += " --disable-validation --log-format json --log-interval 20"
TRAIN = f"data/bin --arch memtx_feedback_tiny {SIZES} {LEARNING} --keep-last-epochs 2"


@dataclass
class Installed:
    """A fresh environment with our wheel, and the folder that commands are started in."""

    environment: Path
    folder: Path

    def run(self, line: str, stdin: str = "") -> str:
        """What a command writes to its standard output; it must succeed."""
        return self.both_outputs(line, stdin)[0]

    def both_outputs(self, line: str, stdin: str = "", **variables: str) -> tuple[str, str]:
        """What it writes to its standard output and error, with other environment variables."""
        process = self.start(line, **variables)
        out, err = process.communicate(stdin)
        assert process.returncode == 0, f"{line}\n{out}{err}"
        return out, err

    def start(self, line: str, **variables: str) -> subprocess.Popen[str]:
        """The process of a command, which sees nothing of the checkout."""
        command, *words = line.split()
        ours = ("PYTHON", "VIRTUAL_ENV", "PYTEST")
        kept = {name: x for name, x in os.environ.items() if not name.startswith(ours)}
        return subprocess.Popen(
            [self.environment / "bin" / command, *words],
            cwd=self.folder,
            env={**kept, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def lines(self, name: str) -> list[str]:
        return (self.folder / name).read_text(encoding="utf-8").removesuffix("\n").split("\n")

    def translated(self, how: str) -> list[str]:
        """The test set's translations by `memtx translate`."""
        self.run(f"memtx translate {how} {SEARCH} --input test.en --output found.de")
        found = self.lines("found.de")
        (self.folder / "found.de").unlink()
        assert len(found) == LINES["test"]
        return found

    def right(self, found: list[str]) -> int:
        """How many of these translations are the references."""
        return sum(map(str.__eq__, found, self.lines("test.de")))


def write_text(folder: Path) -> None:
    """A number a line."""
    drawn = random.Random(1)
    for split, lines in LINES.items():
        words = drawn.choices(list(NUMBERS), k=lines)
        english = "".join(f"{word}\n" for word in words)
        german = "".join(f"{NUMBERS[word]}\n" for word in words)
        (folder / f"{split}.en").write_text(english, encoding="utf-8")
        (folder / f"{split}.de").write_text(german, encoding="utf-8")


def make_environment(folder: Path, wheel: Path) -> None:
    """A virtual environment as pip makes it, but that libraries are shared, not installed again.

    A path in a `.pth` file makes its packages importable; `.pth` files that lie there, such as that
    of an editable installation of ours, are not followed. fairseq lies beside our package, where
    it looks for a user-dir that is a bare name.
    """
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        folder / "bin" / "python",
        "install",
    ]
    subprocess.run([*pip, "--quiet", "--no-deps", "--no-index", wheel], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    libraries = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (site / "libraries.pth").write_text("\n".join(libraries) + "\n", encoding="utf-8")
    ignored = shutil.ignore_patterns("__pycache__", "examples")
    package = Path(fairseq.__file__).parent
    shutil.copytree(package, site / "fairseq", copy_function=os.symlink, ignore=ignored)
    (name, *_) = importlib.metadata.packages_distributions()["fairseq"]
    for command in importlib.metadata.distribution(name).entry_points:
        path = folder / "bin" / command.name
        path.write_text(
            f"#!{folder / 'bin' / 'python'}\nimport sys\n"
            f"from {command.module} import {command.attr}\nsys.exit({command.attr}())\n"
        )
        path.chmod(0o755)


@pytest.fixture(scope="session")
def installed(wheel: Path, shared_tmp: Path) -> Installed:
    """The environment and the folder, made once per test run."""
    found = Installed(shared_tmp / "fresh", shared_tmp / "away")
    with FileLock(shared_tmp / "fresh.lock"):
        if not found.folder.exists():
            make_environment(found.environment, wheel)
            found.folder.mkdir()
    return found


@pytest.fixture(scope="session")
def trained(installed: Installed) -> Installed:
    """The same after preparing and training: `data/`, checkpoints in `run/`, `train.log`.

    The training begins with the package's place as its user-dir, and goes on by its bare name.
    """
    with FileLock(f"{installed.folder}.lock"):
        if not (installed.folder / "train.log").exists():
            write_text(installed.folder)
            installed.run(
                "memtx prepare parallel --train train --valid valid --test test --out data"
                " --vocab-size 60 --duplicates keep --workers 1"
            )
            log = ""
            place = installed.run("memtx user-dir").strip()
            for user_dir, epochs in ((place, 6), ("fairseq_memtx", 10)):  # of 7 updates
                log += installed.run(
                    f"fairseq-train {TRAIN} --user-dir {user_dir} --task memtx_translation"
                    f" --save-dir run --max-epoch {epochs}"
                )
            (installed.folder / "train.log").write_text(log, encoding="utf-8")
    return installed


def test_the_environment_has_our_package_and_none_of_the_checkout_s(installed: Installed) -> None:
    (installed.folder / "look.py").write_text(
        "from importlib.util import find_spec\nimport fairseq_memtx.data_prep as found\n"
        "print(found.__file__, *map(find_spec, ('data_prep', 'scripts', 'tests')))\n"
    )
    place, *others = installed.run("python look.py").split()
    (installed.folder / "look.py").unlink()
    assert Path(place).is_relative_to(installed.environment)
    assert others == ["None"] * 3


def test_raw_text_to_raw_text(trained: Installed) -> None:
    trained.run("memtx average --last 2 --out averaged.pt run")
    trained.run(f"memtx translate averaged.pt {SEARCH} --input test.en --output translated.de")
    assert trained.right(trained.lines("translated.de")) >= ENOUGH
    score = trained.run("memtx score --hypotheses translated.de --references test.de")
    assert float(re.search(r'"chrf": \{\s+"score": ([\d.]+)', score)[1]) > 90


@pytest.mark.slow
def test_without_a_compiler_there_is_one_warning_and_the_same_text(
    trained: Installed, tmp_path: Path
) -> None:
    line = f"memtx translate run/checkpoint_last.pt {SEARCH} --input test.en"
    usual, told = trained.both_outputs(line)
    assert "native engine:" not in told
    hidden = {"PATH": str(tmp_path), "MEMTX_CACHE": str(tmp_path / "cache"), "CXX": ""}
    found, told = trained.both_outputs(line, **hidden)
    assert found == usual
    (warning,) = (line for line in told.splitlines() if "native engine" in line)
    assert "searching without the native engine: there is no C++ compiler" in warning


@pytest.mark.slow
def test_the_engine_is_compiled_at_first_use(trained: Installed, tmp_path: Path) -> None:
    line = f"memtx translate run/checkpoint_last.pt {SEARCH} --input test.en"
    found, _ = trained.both_outputs(line, MEMTX_CACHE=str(tmp_path / "cache"))
    assert found == trained.run(line)
    assert len(list((tmp_path / "cache").glob("engine-*.so"))) == 1


@pytest.mark.slow
def test_the_length_schedule_and_the_mixture_are_shown(trained: Installed) -> None:
    curriculum = "--max-tokens 400 --memtx-length-schedule linear --memtx-length-start 2"
    shown = trained.run(f"memtx schedule data/bin {curriculum} --plot schedule.png")
    assert shown.split("\n")[0].split()[:2] == ["update", "length"]
    assert shown.rstrip().endswith("100.0%")
    assert (trained.folder / "schedule.png").stat().st_size > 1000

    shown = trained.run("memtx mixture train.log run/checkpoint_last.pt --out mixture")
    header, log, checkpoint = (line.split() for line in shown.rstrip("\n").split("\n"))
    assert header == ["file", "updates", "embedding", "layer", "1"]
    assert (log[1], checkpoint[1]) == ("70", "70")
    assert sum(map(float, checkpoint[2:])) == pytest.approx(1.0, abs=1e-3)
    assert (trained.folder / "mixture.svg").stat().st_size > 1000


@pytest.mark.slow
def test_a_page_explains_a_translation(trained: Installed) -> None:
    trained.run("memtx explain run/checkpoint_last.pt one --out page.html")
    page = (trained.folder / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert "addEventListener" in page and "color-scheme" in page


@pytest.mark.slow
def test_a_model_goes_away_as_a_folder_and_comes_back(trained: Installed) -> None:
    trained.run("memtx export run/checkpoint_last.pt --out taken")
    found = trained.translated("taken")
    assert found == trained.translated("run/checkpoint_last.pt")
    trained.run("memtx import taken --out back/model.pt")
    assert trained.translated("back/model.pt") == found


@pytest.mark.slow
def test_a_server_translates_and_has_its_page(trained: Installed) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(trained.start("memtx serve run/checkpoint_last.pt --port 0"))
        stack.callback(server.kill)
        assert server.stderr is not None
        lines = (
            re.search(r"open (http://127\.0\.0\.1:\d+/) in a browser", x) for x in server.stderr
        )
        address = next(found[1] for found in lines if found)
        with urllib.request.urlopen(address, timeout=60) as page:
            assert "addEventListener" in page.read().decode()
        body = json.dumps({"lines": trained.lines("test.en"), "beam": 1}).encode()
        request = urllib.request.Request(
            f"{address}v1/translate", body, {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found = json.load(answer)["translations"]
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    assert trained.right([best["text"] for best, *_ in found]) >= ENOUGH


@pytest.mark.slow
def test_a_model_takes_the_words_of_other_data(trained: Installed) -> None:
    """With German for English and English for German, a training goes on from it."""
    trained.run(
        "memtx prepare parallel --train train --valid valid --test test --out turned"
        " --source-lang de --target-lang en --vocab-size 60 --duplicates keep --workers 1"
    )
    trained.run("memtx adapt run/checkpoint_last.pt --data turned/bin --out adapted.pt")
    trained.run(
        f"fairseq-train turned/bin --arch memtx_feedback_tiny {SIZES} {LEARNING} --save-dir other"
        " --user-dir fairseq_memtx --task memtx_translation --max-epoch 1"
        " --finetune-from-model adapted.pt"
    )
    trained.run("memtx translate other/checkpoint_last.pt --input test.de --output turned.en")
    assert len(trained.lines("turned.en")) == LINES["test"]


@pytest.mark.slow
def test_all_commands_answer_for_their_help(trained: Installed) -> None:
    listed = trained.run("memtx --help")
    names = re.findall(r"^  ([a-z][a-z-]+)  ", listed, re.MULTILINE)
    assert {"prepare", "translate", "explain", "serve", "export", "import", "adapt"} < set(names)
    for name in names:
        shown = trained.run(f"memtx {name}{'' if name == 'user-dir' else ' --help'}")
        assert shown.strip()
    assert "--memtx-memory-mixture" in trained.run("memtx decoders feedback")


@pytest.mark.slow
def test_a_model_in_eight_bits_is_smaller_and_translates(trained: Installed) -> None:
    trained.run("memtx quantize run/checkpoint_last.pt --out small.pt")
    small, whole = (trained.folder / x for x in ("small.pt", "run/checkpoint_last.pt"))
    assert small.stat().st_size < whole.stat().st_size / 2
    assert trained.right(trained.translated("small.pt")) >= ENOUGH


@pytest.mark.slow
def test_a_shortlist_is_searched_with(trained: Installed) -> None:
    trained.run("memtx shortlist data/bin --out list.npz --translations 10 --frequent 10")
    found = trained.translated("run/checkpoint_last.pt --shortlist list.npz")
    assert trained.right(found) >= ENOUGH


@pytest.mark.slow
def test_the_output_of_fairseq_generate_becomes_text(trained: Installed) -> None:
    log = trained.run(
        "fairseq-generate data/bin --path run/checkpoint_last.pt --cpu --user-dir fairseq_memtx"
        f" --remove-bpe sentencepiece --batch-size 5 {SEARCH}"
    )
    found = trained.run(f"memtx hypotheses --lines {LINES['test']}", stdin=log)
    assert found == "\n".join(trained.translated("run/checkpoint_last.pt")) + "\n"


@pytest.mark.slow
def test_a_teacher_s_translations_train_a_student(trained: Installed) -> None:
    student = f"--arch transformer_tiny {SIZES} {LEARNING} --max-epoch 1"
    trained.run(
        "memtx distil --data data --teacher run/checkpoint_last.pt --out distilled --shards 1"
        f" {SEARCH} --generate-args=--cpu --train-args {student}"
    )
    assert (trained.folder / "distilled" / "checkpoints" / "checkpoint_last.pt").exists()
    taught = trained.lines("distilled/text/train.de")
    assert len(taught) > LINES["train"] // 2
    assert sum(line in NUMBERS.values() for line in taught) > 0.9 * len(taught)


@pytest.mark.slow
def test_a_transformer_becomes_a_memory_decoder(trained: Installed) -> None:
    trained.run(
        "memtx train-staged data/bin --save-dir staged --parallel-updates 40"
        f" --train-args {SIZES} {LEARNING} --no-epoch-checkpoints --max-update 60"
    )
    assert trained.right(trained.translated("staged/checkpoint_last.pt")) >= ENOUGH
