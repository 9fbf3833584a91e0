"""What `sweep_error` measures the parallel engine on: Feedback decoders, random or trained.

Size legend: B sentences, T target positions, S source positions, N positions without padding, C
model dimension, P parameters and source entries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from fairseq_memtx import checkpoints
from fairseq_memtx.ground.errors import UserError

ENCODER_LAYERS = 1  # of random models, whose source is made up

#: Settings under which training is a function of the weights alone.
NO_DROPOUT = {
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "relu_dropout": 0.0,
    "encoder_layerdrop": 0.0,
    "decoder_layerdrop": 0.0,
}


class Batch(NamedTuple):
    """Target words fed in and to be predicted, `(B, T)`, and the encoder's output."""

    tokens: Tensor
    target: Tensor
    source: dict[str, list[Tensor]]


@dataclass
class Subject:
    """A Feedback decoder in training mode, without dropout, and batches for it.

    Attributes:
        decoder: a `FeedbackDecoder`.
        facts: what a record says of it.
    """

    decoder: Any
    batches: list[Batch]
    facts: dict[str, Any]


class Outcome(NamedTuple):
    """What an engine makes of a subject.

    Attributes:
        states: of all layers, `(layers * N, C)`.
        bits: negative log-likelihood for each target token.
        gradient: of `bits`, `(P,)`.
        features_grads: of `bits`, `(B, T, C)` for each batch.
    """

    states: Tensor
    bits: float
    gradient: Tensor
    features_grads: list[Tensor]


def random_subject(depth: int, dim: int, batch: int, length: int) -> Subject:
    """A decoder with its starting weights, a made-up source and random words, no padding."""
    from scripts.shared.contenders import Case, build, random_source, random_tokens

    case = Case("decoder", depth, dim, batch, length, 0.0, encoder_layers=ENCODER_LAYERS)
    decoder = build(case, "memtx_feedback").decoder
    tokens, target = random_tokens(case), random_tokens(case)
    facts = {"weights": "random", "layers": depth, "dim": dim, "shapes": [[batch, length]]}
    return Subject(decoder, [Batch(tokens, target, random_source(case))], facts)


def trained_subject(
    checkpoint: Path, data_bin: Path, subset: str, max_tokens: int, num_batches: int
) -> Subject:
    """The decoder of a checkpoint, and batches spread evenly over the lengths of a data set.

    Raises:
        UserError: the checkpoint is damaged or of another model, or the data is not there.
    """
    model, task = load_feedback_model(checkpoint, data_bin)
    samples = spread_batches(load_dataset(task, data_bin, subset), max_tokens, num_batches)
    batches = [encoded(model.encoder, sample) for sample in samples]
    decoder = model.decoder.train()
    facts = {
        "weights": "trained",
        "layers": decoder.num_layers,
        "dim": decoder.embed_dim,
        "shapes": [list(batch.tokens.shape) for batch in batches],
        "subset": subset,
    }
    return Subject(decoder, batches, facts)


def load_feedback_model(checkpoint: Path, data_bin: Path) -> tuple[Any, Any]:
    """A trained Feedback model without dropout, in evaluation mode, and its task."""
    checkpoints.load(checkpoint)  # whose errors say what to do
    from fairseq import checkpoint_utils

    import fairseq_memtx.plugin  # noqa: F401  (registers the models)

    if not data_bin.is_dir():
        raise UserError(f"`--data-bin {data_bin}` is not a folder: name one of binarised data")
    overrides = {**NO_DROPOUT, "data": str(data_bin)}
    (model,), _, task = checkpoint_utils.load_model_ensemble_and_task(
        [str(checkpoint)], arg_overrides=overrides
    )
    if not hasattr(model.decoder, "memory") or not hasattr(model, "encoder"):
        raise UserError(
            f"`{checkpoint}` is not a checkpoint of a Feedback translation model, but of a"
            f" {type(model).__name__}"
        )
    return model.eval(), task


def load_dataset(task: Any, data_bin: Path, subset: str) -> Any:
    """A data set of fairseq's."""
    try:
        task.load_dataset(subset)
    except FileNotFoundError:
        raise UserError(f"`--data-bin {data_bin}` holds no data set `{subset}`") from None
    return task.dataset(subset)


def spread_batches(dataset: Any, max_tokens: int, number: int) -> list[dict]:
    """At most `number` of fairseq's batches, evenly over the lengths; longer pairs are left out."""
    limits = (max_tokens, max_tokens)
    indices, _ = dataset.filter_indices_by_size(dataset.ordered_indices(), limits)
    if len(indices) == 0:
        raise UserError(
            f"`--max-tokens` is {max_tokens}: it has to be at least a sentence's length"
        )
    groups = dataset.batch_by_size(indices, max_tokens=max_tokens)
    number = min(number, len(groups))
    chosen = [groups[i * len(groups) // number] for i in range(number)]
    return [dataset.collater([dataset[int(i)] for i in group]) for group in chosen]


def encoded(encoder: Any, sample: dict) -> Batch:
    """A batch of fairseq's with its source encoded, of which gradients can be taken."""
    inputs = sample["net_input"]
    with torch.no_grad():
        out = encoder(inputs["src_tokens"], inputs["src_lengths"])
    (states,) = out["encoder_out"]
    source = {
        "encoder_out": [states.detach().requires_grad_()],
        "encoder_padding_mask": out["encoder_padding_mask"],
    }
    return Batch(inputs["prev_output_tokens"], sample["target"], source)


def choose(subject: Subject, **options: Any) -> None:
    """Set the decoder's engine and sweeps."""
    subject.decoder.options = replace(subject.decoder.options, **options)


def outcome(subject: Subject) -> Outcome:
    """States, loss and gradient with the engine that is set."""
    decoder, states, grads = subject.decoder, [], []
    clear_gradients(subject)
    num_tokens = sum(int(b.target.ne(decoder.padding_idx).sum()) for b in subject.batches)
    bits = 0.0
    for batch in subject.batches:
        features, extra = decoder(batch.tokens, encoder_out=batch.source, features_only=True)
        # (T, B, C) of each layer -> (N, C)
        seen = batch.tokens.ne(decoder.padding_idx).t()
        states += [x.detach()[seen] for x in extra["inner_states"][1:]]
        leaf = features.detach().requires_grad_()
        loss = negative_log_likelihood(decoder, leaf, batch.target) / num_tokens
        loss.backward()
        assert leaf.grad is not None
        features.backward(leaf.grad)
        grads.append(leaf.grad)
        bits += float(loss.detach())
    return Outcome(torch.cat(states), bits, gradient(subject), grads)


def negative_log_likelihood(decoder: Any, features: Tensor, target: Tensor) -> Tensor:
    """The sum over all target tokens, in bits."""
    output: tuple[Tensor, dict] = decoder.output_layer(features), {}
    log_probs = decoder.get_normalized_probs(output, log_probs=True, sample={"target": target})
    found = log_probs.gather(2, target.unsqueeze(2)).squeeze(2)
    return -found[target.ne(decoder.padding_idx)].sum() / math.log(2)


def clear_gradients(subject: Subject) -> None:
    """Of the decoder and the sources."""
    subject.decoder.zero_grad()
    for batch in subject.batches:
        batch.source["encoder_out"][0].grad = None


def gradient(subject: Subject) -> Tensor:
    """All parameters' and all sources' in one vector; none counts as zero."""
    leaves = [*subject.decoder.parameters(), *(b.source["encoder_out"][0] for b in subject.batches)]
    grads = [torch.zeros_like(x) if x.grad is None else x.grad for x in leaves if x.requires_grad]
    return torch.cat([grad.flatten() for grad in grads])


def timed_step(
    subject: Subject, options: dict[str, Any], grads: Sequence[Tensor]
) -> Callable[[], None]:
    """Features forward and backward from the gradients given; no projection to the vocabulary."""

    def step() -> None:
        choose(subject, **options)
        clear_gradients(subject)
        for batch, grad in zip(subject.batches, grads, strict=True):
            features, _ = subject.decoder(
                batch.tokens, encoder_out=batch.source, features_only=True
            )
            features.backward(grad)

    return step


def errors(got: Outcome, exact: Outcome) -> dict[str, float]:
    """How far an outcome is from the exact one; all relative but `bits`, a difference."""
    distance = (got.states - exact.states).norm(dim=1) / exact.states.norm(dim=1)
    a, b = got.gradient.double(), exact.gradient.double()
    return {
        "state_mean": float(distance.mean()),
        "state_max": float(distance.max()),
        "bits": got.bits - exact.bits,
        "gradient": float((a - b).norm() / b.norm()),
        "cosine": float(torch.nn.functional.cosine_similarity(a, b, dim=0)),
    }
