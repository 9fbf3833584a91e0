"""A file chooses only among what computes; a user may choose anything."""

import pytest

from fairseq_memtx import plugin
from fairseq_memtx.checkpoints import trusted
from fairseq_memtx.ground.errors import UserError

assert plugin


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("model", "memtx_feedback"), ("model", "memtx_compressive_lm"), ("model", "transformer"),
        ("model", "transformer_wmt_en_de"), ("model", "transformer_lm_gpt"),
        ("task", "translation"), ("task", "memtx_translation"), ("criterion", "memtx_compression"),
        ("criterion", "label_smoothed_cross_entropy"), ("bpe", "sentencepiece"),
    ],
)  # fmt: skip
def test_ours_and_the_transformers_may_be_chosen(kind: str, name: str) -> None:
    assert trusted.is_allowed(kind, name)


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("model", "fconv"), ("model", "lstm"), ("model", "transformer_from_pretrained_xlm"),
        ("model", "none"), ("task", "audio_pretraining"), ("criterion", "ctc"), ("bpe", "gpt2"),
        ("bpe", "hf_byte_bpe"), ("scoring", "bert_score"), ("task", "transformer"),
    ],
)  # fmt: skip
def test_all_else_may_not(kind: str, name: str) -> None:
    assert not trusted.is_allowed(kind, name)


def test_the_user_may_allow_more(monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"cfg": {"model": {"_name": "lstm"}, "task": {"_name": "translation"}}}
    with pytest.raises(UserError, match=r"`x.pt` names the model `lstm`.*MEMTX_ALLOW=lstm"):
        trusted.check(state, "x.pt")
    with trusted.allowing(frozenset({"lstm"})):
        trusted.check(state, "x.pt")
    monkeypatch.setenv("MEMTX_ALLOW", "fconv, lstm")
    trusted.check(state, "x.pt")


def test_names_are_found_wherever_they_stand() -> None:
    task = {"_name": "t", "eval_bleu_detok": "moses"}
    held = {"cfg": {"model": {"arch": "m"}, "task": task, "bpe": "b"}, "args": None}
    found = set(trusted.named(held))
    assert found == {("model", "m"), ("task", "t"), ("tokenizer", "moses"), ("bpe", "b")}
