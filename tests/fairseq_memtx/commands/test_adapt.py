"""A model with other dictionaries: known words keep their rows, and with them the translations."""

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fairseq_memtx import checkpoints
from fairseq_memtx.commands import adapt, quantize
from scripts.experiment import commands
from scripts.experiment.folders import Run
from tests.checkpoints import TINY

TABLES = [name for names in adapt.TABLES.values() for name in names]


def with_words(data: Path, to: Path, change: Callable[[list[str]], list[str]]) -> Path:
    """The data folder with changed dictionaries, the same for both languages."""
    shutil.copytree(data, to, ignore=shutil.ignore_patterns("*.bin", "*.idx"))
    for path in to.glob("dict.*.txt"):
        lines = change(path.read_text(encoding="utf-8").splitlines())
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return to


def shuffled(lines: list[str]) -> list[str]:
    return random.Random(1).sample(lines, len(lines))


@pytest.mark.parametrize(
    "decoder", [pytest.param("transformer", marks=pytest.mark.slow), "feedback"]
)
def test_with_its_words_in_another_order_a_model_translates_the_same(
    decoder: str, tiny_checkpoints: dict[str, Path], prepared_sample: Path, tmp_path: Path
) -> None:
    from fairseq_memtx.translator import SearchSettings, Translator

    data = with_words(prepared_sample / "bin", tmp_path / "data", shuffled)
    model, out = tiny_checkpoints[decoder], tmp_path / "adapted.pt"
    assert adapt.main([str(model), "--data", str(data), "--out", str(out)]) == 0
    lines = ["The old dog sees a cat .", "A bird", "Nobody was there yesterday ."]
    search = SearchSettings(beam=2, max_len_a=0, max_len_b=8)
    found = Translator.from_pretrained(out, search=search).translate(lines)
    assert found == Translator.from_pretrained(model, search=search).translate(lines)
    assert len(set(found)) > 1


def test_new_words_begin_at_random_and_all_else_stays(
    tiny_checkpoints: dict[str, Path],
    prepared_sample: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = with_words(
        prepared_sample / "bin", tmp_path / "data", lambda lines: ["new 5", "newer 4", *lines[7:]]
    )
    model, out = tiny_checkpoints["feedback"], tmp_path / "adapted.pt"
    with caplog.at_level("INFO"):
        assert adapt.main([str(model), "--data", str(data), "--out", str(out)]) == 0
    old, new = (checkpoints.load(path)["model"] for path in (model, out))
    assert old.keys() == new.keys()
    for name in old:
        if name not in TABLES:
            assert torch.equal(old[name], new[name]), name
            continue
        assert len(new[name]) == len(old[name]) - 5
        assert torch.equal(new[name][:4], old[name][:4])  # fairseq's own symbols
        assert torch.equal(new[name][6:], old[name][11:])
        spread = new[name][4:6].std().item() * new[name].shape[1] ** 0.5
        assert 0.5 < spread < 1.5
    known = len(new[TABLES[0]]) - 2
    told = (
        f"source: {known} of {known + 2} words keep their rows, 2 begin at random, 7 are given up"
    )
    assert told in caplog.text
    state = checkpoints.load(out)
    assert state["last_optimizer_state"] is None
    assert checkpoints.settings.of(state)["task"]["data"] == str(data)


@pytest.mark.parametrize("named", [True, False])
def test_languages_are_those_of_the_data(
    named: bool, tiny_checkpoints: dict[str, Path], prepared_sample: Path, tmp_path: Path
) -> None:
    """fairseq reads them from the names of files where a training is not told them."""
    data, model = prepared_sample / "bin", tmp_path / "model.pt"
    french = with_words(data, tmp_path / "french", lambda lines: lines)
    (french / "dict.en.txt").rename(french / "dict.fr.txt")
    (french / "train.fr-de.fr.idx").touch()
    state = checkpoints.load(tiny_checkpoints["feedback"])
    if not named:
        for side in adapt.TABLES:
            checkpoints.settings.change(state, "task", f"{side}_lang", None)
    torch.save(state, model)
    for to, source in ((french, "fr"), (data, "en")):
        out = tmp_path / f"{source}.pt"
        assert adapt.main([str(model), "--data", str(to), "--out", str(out)]) == 0
        task = checkpoints.settings.of(checkpoints.load(out))["task"]
        assert (task["source_lang"], task["target_lang"]) == (source, "de")


def test_what_cannot_be_adapted_is_refused(
    tiny_checkpoints: dict[str, Path],
    prepared_sample: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model, data = tiny_checkpoints["feedback"], prepared_sample / "bin"
    other = with_words(data, tmp_path / "other", shuffled)
    one = with_words(data, tmp_path / "one", lambda lines: lines)
    (one / "dict.de.txt").write_text((other / "dict.de.txt").read_text())
    fewer = with_words(data, tmp_path / "fewer", lambda lines: lines[1:])
    small, nameless = tmp_path / "small.pt", tmp_path / "nameless.pt"
    state = checkpoints.load(model)
    checkpoints.settings.change(state, "task", "source_lang", None)
    torch.save(state, nameless)
    assert quantize.main([str(model), "--out", str(small)]) == 0
    cases = [
        ([model, "--data", tmp_path / "none"], "there is no dictionary"),
        ([nameless, "--data", tmp_path / "none", "--trained-on", other], "tells its languages"),
        ([model, "--data", data, "--trained-on", fewer], "is not that which"),
        ([model, "--data", one], "their new dictionaries have to be equal"),
        ([small, "--data", data], "in eight bits: adapt what it was made of"),
        ([tmp_path / "no.pt", "--data", data], "no.pt"),
    ]
    for words, message in cases:
        assert adapt.main([*map(str, words), "--out", str(tmp_path / "out.pt")]) == 1
        assert message in capsys.readouterr().err.split("\n")[-2]
    assert not (tmp_path / "out.pt").exists()
    assert adapt.main([str(model), "--data", str(data), "--out", str(model)]) == 1


@pytest.mark.slow
def test_training_goes_on_from_it(
    tiny_checkpoints: dict[str, Path], prepared_sample: Path, tmp_path: Path
) -> None:
    """With fairseq's own flag, on data whose dictionary is longer."""
    from fairseq import options
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf
    from fairseq_cli import train

    shutil.copytree(prepared_sample / "bin", tmp_path / "bin")
    for path in (tmp_path / "bin").glob("dict.*.txt"):
        path.write_text(path.read_text(encoding="utf-8") + "new 1\n", encoding="utf-8")
    model, out = str(tiny_checkpoints["feedback"]), tmp_path / "adapted.pt"
    assert adapt.main([model, "--data", str(tmp_path / "bin"), "--out", str(out)]) == 0

    run = Run("feedback", 2, 1)
    line = commands.train_command(TINY, tmp_path / "bin", tmp_path / "checkpoints", run)[1:]
    line += ["--finetune-from-model", str(out), "--max-update", "1", "--lr", "1e-9"]
    args = options.parse_args_and_arch(options.get_training_parser(), line)
    train.main(convert_namespace_to_omegaconf(args))
    begun = checkpoints.load(tmp_path / "checkpoints" / "checkpoint_last.pt")["model"]
    for name, weight in checkpoints.load(out)["model"].items():
        torch.testing.assert_close(begun[name], weight, rtol=0, atol=1e-6, msg=name)
