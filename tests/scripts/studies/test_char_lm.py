"""Language models of characters: the text, the models' sizes, the stages, the table."""

import gzip
import json
import sys
from pathlib import Path

import pytest

from fairseq_memtx.ground import shell
from scripts.studies import char_lm
from scripts.studies.characters import table
from scripts.studies.characters.configs import EXPERIMENT, MODELS, evaluate_command, train_command

TEXT = "First Citizen:\nSpeak, speak.\n\nAll:\nResolved. resolved.\n" * 20

# In the place of fairseq's commands: binarises nothing, trains at once, knows the loss already.
FAKE = """
import json, pathlib, sys
words = sys.argv[1:]
value = lambda flag: words[words.index(flag) + 1]
if "--destdir" in words:
    folder = pathlib.Path(value("--destdir"))
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("train", "valid", "test"):
        text = pathlib.Path(value(f"--{name}pref")).read_bytes()
        (folder / f"{name}.bin").write_bytes(text), (folder / f"{name}.idx").write_bytes(b"")
    (folder / "dict.txt").write_text("a 1")
elif "--max-update" in words:
    (pathlib.Path(value("--save-dir")) / "checkpoint_last.pt").write_text(value("--seed"))
    print("num. shared model params: 1,234 (num. trained: 1,234)")
    say = lambda kind, **stats: print(f"now | INFO | {kind} | {json.dumps(stats)}", flush=True)
    say("train", epoch=1, train_nll_loss="2.6", train_wpb="10", train_num_updates="4")
    loss = 2.5 if value("--seed") == "1" else 2.3
    say("valid", epoch=1, valid_loss=loss, valid_nll_loss=loss, valid_num_updates="4")
else:
    print("INFO | Loss (base 2): 2.4000, Perplexity: 5.28")
"""


@pytest.fixture
def folders(tmp_path: Path, monkeypatch) -> Path:
    """A corpora folder, and fairseq's commands replaced."""
    text = tmp_path / "corpora" / "tinyshakespeare" / "input.txt.gz"
    text.parent.mkdir(parents=True)
    text.write_bytes(gzip.compress(TEXT.encode()))
    fake = tmp_path / "fake.py"
    fake.write_text(FAKE)
    monkeypatch.setattr(shell, "executable", lambda line: [sys.executable, str(fake), *line[1:]])
    return tmp_path


def run(folder: Path, *flags: str) -> int:
    places = ["--runs-dir", str(folder / "runs"), "--results-dir", str(folder / "results")]
    return char_lm.main(["--corpora", str(folder / "corpora"), *places, *flags])


@pytest.mark.slow
def test_all_stages_leave_records_and_a_table(folders, capsys):
    assert run(folders, "--models", "transformer,compressive", "--seeds", "1,2") == 0
    place = folders / "results" / "tinyshakespeare"
    records = [json.loads(path.read_bytes()) for path in sorted(place.glob("records/*.json"))]
    assert [(r["model"], r["seed"]) for r in records] == [
        ("compressive", 1), ("compressive", 2), ("transformer", 1), ("transformer", 2),
    ]  # fmt: skip
    assert records[0]["parameters"] == 1234
    assert sum(records[0]["data"]["characters"].values()) == len(TEXT)
    assert set(records[0]["evaluations"]) == {"alone", "in order", "longer"}
    assert str(folders) not in json.dumps(records)
    page = (place / "table.md").read_text(encoding="utf-8")
    assert page == table.table(records)
    assert (
        "| transformer | 2 | 1,234 | 2.400 (2.300-2.500) | 2.400 (2.400-2.400) |"
        " 2.400 (2.400-2.400) |  |" in page
    )
    assert page in capsys.readouterr().out


def test_what_is_done_is_not_done_again(folders):
    for _ in range(2):
        assert run(folders, "--models", "feedback") == 0
    log = folders / "runs" / "tinyshakespeare" / "feedback-d3-s1" / "train.log"
    assert log.read_text().count("num. shared model params") == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--models", "parrot"], "`--models` has `parrot`"),
        (["--stages", "sleep"], "`--stages` has `sleep`"),
        (["--corpora", "/nowhere"], "`--corpora` holds neither `tinyshakespeare/input.txt` nor"),
        (["--stages", "evaluate"], "is not trained: run the stage `train` first"),
    ],
)
def test_user_errors_are_one_line(folders, flags, message, capsys):
    assert run(folders, *flags) == 1
    errors = [line for line in capsys.readouterr().err.split("\n") if line.startswith("error:")]
    assert len(errors) == 1 and message in errors[0]


def test_damaged_text_is_refused(folders, capsys):
    text = folders / "corpora" / "tinyshakespeare" / "input.txt.gz"
    text.write_bytes(text.read_bytes()[:-9])
    assert run(folders) == 1
    assert "input.txt.gz` is damaged" in capsys.readouterr().err
    text.with_suffix("").write_bytes(b"ab\xff")
    assert run(folders) == 1
    assert "is not UTF-8 at byte 2" in capsys.readouterr().err


def test_the_models_have_as_many_parameters_and_fairseq_takes_their_flags(tmp_path):
    from fairseq import options, tasks
    from fairseq.data import Dictionary

    import fairseq_memtx.plugin  # noqa: F401

    dictionary = Dictionary()
    for number in range(64):
        dictionary.add_symbol(f"c{number}")
    dictionary.finalize(padding_factor=8)
    dictionary.save(str(tmp_path / "dict.txt"))
    counts = {}
    for name, model in MODELS.items():
        command = train_command(model, EXPERIMENT, tmp_path, tmp_path / "save", seed=1)
        args = options.parse_args_and_arch(options.get_training_parser(), command[1:])
        built = tasks.setup_task(args).build_model(args)
        counts[name] = sum(parameter.numel() for parameter in built.parameters())
        for evaluation in model.evaluations:
            words = evaluate_command(evaluation, tmp_path, tmp_path / "model.pt")[1:]
            options.parse_args_and_arch(options.get_eval_lm_parser(), words)
    assert max(counts.values()) < 1.005 * min(counts.values()), counts
