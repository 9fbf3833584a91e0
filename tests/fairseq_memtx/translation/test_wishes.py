"""Prefixes, constraints, other searches and workers, by the translator."""

from pathlib import Path
from typing import Any

import pytest

from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.translator import SearchSettings, Translator

LIMIT = {"max_len_a": 0, "max_len_b": 12}


def load(model: Path, **settings: Any) -> Translator:
    return Translator.from_pretrained(model, search=SearchSettings(**{**LIMIT, **settings}))


@pytest.fixture(scope="module")
def fast(models: dict[str, Path]) -> Translator:
    return load(models["feedback"], beam=3)


@pytest.fixture(scope="module")
def constrained(models: dict[str, Path]) -> Translator:
    return load(models["feedback"], generator="fairseq", constraints="unordered", nbest=2)


def test_a_translation_begins_with_its_prefix_and_others_stay(fast: Translator, text) -> None:
    lines = [*text["en"][:4], "", text["en"][4]]
    free = fast.translate(lines)
    found = fast.translate(lines, prefixes=["Der", "", "", "Katze", "", ""])
    assert found[0].startswith("Der") and found[3].startswith("Katze")
    assert found[0] != free[0]
    assert [found[i] for i in (1, 2, 4, 5)] == [free[i] for i in (1, 2, 4, 5)]


def test_a_prefix_of_a_line_that_is_cut_begins_its_first_part(models: dict[str, Path]) -> None:
    translator = load(models["feedback"], beam=2)
    translator.max_source = 6
    (found,) = translator.translate(["The old dog sees a cat ."], prefixes=["Der"])
    assert found.startswith("Der")
    assert "Der" not in found.split()[1:]


def test_a_prefix_with_unknown_letters_is_told(fast: Translator, caplog) -> None:
    (found,) = fast.translate(["A dog ."], prefixes=["\u2603"])
    assert "<unk>" in found
    assert "line 1: the prefix has subwords that the model does not know" in caplog.text


def test_constrained_translations_have_their_words(constrained: Translator, text) -> None:
    lines = text["en"][:3]
    found = constrained.nbest(lines, constraints=[["Katze", "Der"], [], ["Hund", ""]])
    assert "Katze" in found[0][0].text and "Der" in found[0][0].text
    assert "Hund" in found[2][0].text
    assert found[1][0].text == constrained.translate(lines)[1]


@pytest.mark.parametrize(
    ("wishes", "says"),
    [
        ({"prefixes": ["a"]}, "`prefixes` is a list of 1: it needs one for each of the 2 lines"),
        ({"prefixes": "ab"}, "`prefixes` is a single text: it needs"),
        ({"prefixes": ["", "a"]}, "line 8 is blank: leave out its prefix"),
        ({"prefixes": ["", None]}, "the prefix of line 8 is a NoneType: it has to be text .str."),
        ({"prefixes": ["Der " * 20, ""]}, "the prefix of line 7 has .* but .* may have 12: allow"),
        ({"constraints": [["a"], []]}, "constraints need the setting `constraints`"),
        ({"prefixes": ["", ""], "constraints": [[], []]}, "`prefixes` and `constraints` exclude"),
    ],
)
def test_wishes_that_cannot_be_kept_to(wishes: dict, says: str, fast: Translator) -> None:
    with pytest.raises(UserError, match=says):
        fast.translate(["A dog .", ""], first=6, **wishes)


def test_constraints_that_cannot_be_kept_to(constrained: Translator, monkeypatch) -> None:
    with pytest.raises(UserError, match="the constraints of line 1 are one text"):
        constrained.translate(["A dog ."], constraints=["Hund"])
    with pytest.raises(UserError, match=r"the constraints of line 1 have .* may have 12: allow"):
        constrained.translate(["A dog ."], constraints=[["Der Hund und die Katze lesen ein Buch"]])

    def endless(*args: object) -> None:
        raise AssertionError("12 < 12")  # fairseq's, at a translation as long as may be

    with monkeypatch.context() as patch:
        patch.setattr(constrained.task, "inference_step", endless)
        with pytest.raises(UserError, match="lines 3 to 3 have no translations with all"):
            constrained.translate(["A dog ."], first=2, constraints=[["Hund"]])
    monkeypatch.setattr(constrained, "max_source", 3)
    with pytest.raises(UserError, match=r"line 1 is too long .* which cannot have constraints"):
        constrained.translate(["The old dog sees a cat ."], constraints=[["Hund"]])


OTHERS: dict[str, dict[str, Any]] = {
    "sampling": {"sampling": True},
    "top-k": {"sampling": True, "sampling_topk": 4},
    "nucleus": {"sampling": True, "sampling_topp": 0.7, "temperature": 2.0},
    "diverse groups": {"diverse_beam_groups": 2, "beam": 4},
    "diversity rate": {"diversity_rate": 0.7},
}


@pytest.mark.parametrize("way", OTHERS)
def test_other_searches_are_fairseqs(way: str, models: dict[str, Path], text) -> None:
    """Another result than the beam search's, the same again, and with prefixes too."""
    lines = text["en"][:5]
    translator = load(models["feedback"], generator="fairseq", nbest=2, batch_size=2, **OTHERS[way])
    found = translator.nbest(lines)
    assert found == translator.nbest(lines)
    assert found != load(models["feedback"], nbest=2).nbest(lines)
    begun = translator.translate(lines, prefixes=["Der"] * 5)
    assert all(one.startswith("Der") for one in begun)


def test_what_is_drawn_depends_on_the_seed_and_leaves_the_random_state(
    models: dict[str, Path], text
) -> None:
    import torch

    lines = text["en"][:3]
    translators = [
        load(models["feedback"], generator="fairseq", sampling=True, seed=seed)
        for seed in (1, 1, 2)
    ]
    state = torch.random.get_rng_state()
    drawn = [translator.translate(lines) for translator in translators]
    assert drawn[0] == drawn[1] != drawn[2]
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize(
    "settings",
    [
        {"alignment": True},
        {"native": "off"},
        pytest.param({"generator": "fairseq"}, marks=pytest.mark.slow),
        pytest.param({"generator": "fairseq", "sampling": True}, marks=pytest.mark.slow),
    ],
)
def test_the_number_of_workers_changes_nothing(
    settings: dict[str, Any], models: dict[str, Path], text
) -> None:
    lines = [*text["en"][:7], "", text["en"][7]]
    found = [
        load(models["feedback"], batch_size=2, nbest=2, workers=count, **settings).nbest(lines)
        for count in (1, 2, 3)
    ]
    assert found[0] == found[1] == found[2]
    assert len({translations[0].text for translations in found[0]}) > 3


def test_workers_share_the_weights_that_were_prepared(
    models: dict[str, Path], text, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are made ready once, here; a worker that made them again would end it."""
    import os

    from fairseq_memtx.native.searches import Member

    here, make, made = os.getpid(), Member._make, []

    def only_here(self, model):
        if os.getpid() != here:
            os._exit(7)
        made.append(model)
        return make(self, model)

    monkeypatch.setattr(Member, "_make", only_here)
    translator = load(models["feedback"], batch_size=2, workers=2)
    assert len(translator.translate(text["en"])) == len(text["en"])
    assert len(made) == 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"nbest": 6}, "`nbest` is 6: it can be at most `beam`, which is 5"),
        ({"sampling": True}, "`generator` is fast, which does not know `sampling`"),
        ({"diversity_rate": 1.0, "generator": "cuda-graphs"}, "does not know `diversity_rate`"),
        ({"sampling": True, "constraints": "ordered", "generator": "fairseq"}, "exclude each"),
        ({"constraints": "some"}, "`constraints` is 'some': it has to be ordered or unordered"),
        ({"constraints": "ordered", "generator": "fairseq", "alignment": True}, "exclude each"),
        ({"diverse_beam_groups": 2, "generator": "fairseq"}, "`beam` is 5: .* multiple of the 2"),
        ({"sampling_topk": 3}, "`sampling_topk` does nothing without `sampling`"),
        ({"sampling": True, "sampling_topk": 3, "sampling_topp": 0.5, "generator": "fairseq"},
         "`sampling_topk` and `sampling_topp` exclude each other"),
        ({"diverse_beam_strength": 0.1}, "does nothing without `diverse_beam_groups`"),
        ({"sampling_topp": 1.5}, "`sampling_topp` is 1.5: it has to be from 0 to 1"),
        ({"temperature": 0}, "`temperature` is 0: it has to be from"),
        ({"alignment": 1}, "`alignment` is 1: it has to be True or False"),
        ({"workers": 0}, "`workers` is 0: it has to be from 1"),
    ],
)  # fmt: skip
def test_settings_that_contradict_each_other(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        SearchSettings(**settings)


def test_pairs_that_cannot_be_scored(models: dict[str, Path]) -> None:
    translator = load(models["feedback"])
    with pytest.raises(UserError, match="there are 1 translations for 2 lines"):
        translator.score(["a", "b"], ["a"])
    long = "Hund " * 1100
    with pytest.raises(UserError, match=r"the translation of line 5 has .* leave the pair out"):
        translator.score(["a", "b"], ["a", long], first=3)
    with pytest.raises(UserError, match=r"^line 5 has .* leave the pair out"):
        translator.score(["a", long], ["a", "b"], first=3)
    blank = translator.score(["A dog ."], [""])[0]
    assert blank.subwords == () and len(blank.subword_scores) == 1 and blank.score < 0
