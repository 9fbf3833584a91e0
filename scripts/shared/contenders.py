"""The decoders that ``bench_training`` compares, each as a function that does one step.

Ours and fairseq's have the same sizes and options. The peers' classes have no cross-attention, no
padding and no token embedding of our kind: they get ready-made inputs of the same shape. The
feed-forward network of ``feedback-transformer-pytorch`` is gated, half as large again: it gets one
of the common size, in its favour.

Size legend: B sentences, T target positions, S source positions, V vocabulary.
"""

from __future__ import annotations

import importlib.util
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from fairseq.data import Dictionary
from fairseq.models import ARCH_MODEL_REGISTRY
from fairseq.models.transformer import transformer_legacy
from torch import Tensor, nn

import fairseq_memtx.plugin  # noqa: F401  (registers the models)
from fairseq_memtx.ground.errors import UserError

Step = Callable[[], None]


@dataclass(frozen=True)
class Place:
    """Where a case is timed.

    Attributes:
        device: "cpu" or "cuda".
        dtype: "float32", or "bf16" for weights and activations in bfloat16.
    """

    device: str = "cpu"
    dtype: str = "float32"

    def put(self, x: Any) -> Any:
        """A tensor or a module, there; a tensor of whole numbers or of truths keeps its type."""
        dtype = {"float32": torch.float32, "bf16": torch.bfloat16}[self.dtype]
        floating = isinstance(x, nn.Module) or x.is_floating_point()
        return x.to(self.device, dtype) if floating else x.to(self.device)


HERE = Place()


@dataclass(frozen=True)
class Case:
    """What is timed.

    Attributes:
        what: "decoder" (its layers, forward and backward), "peers" (the same without
            cross-attention) or "update" (encoder, decoder, loss and Adam).
        depth: decoder layers.
        dim: model dimension; the feed-forward network's is four times that.
        batch, length: B and T; S = T.
        dropout: on the sublayers' outputs.
        vocab: V.
        encoder_layers: encoder layers.

    Raises:
        UserError: for a dimension that the heads cannot share.
    """

    what: str
    depth: int
    dim: int
    batch: int
    length: int
    dropout: float = 0.1
    vocab: int = 1000
    encoder_layers: int = 6

    def __post_init__(self) -> None:
        if self.dim % self.heads != 0:
            raise UserError(
                f"the dimension is {self.dim}: it has to be a multiple of its {self.heads} heads"
            )

    @property
    def heads(self) -> int:
        """Attention heads, of 64 numbers each."""
        return max(self.dim // 64, 1)


def contenders(case: Case, place: Place = HERE) -> dict[str, Step]:
    """The steps by name; peers that are not installed, and all of them elsewhere, are left out."""
    ours = {
        "cuda-graphs": lambda: our_model(case, "cuda-graphs"),
        "manual": lambda: our_model(case, "manual"),
        "reference": lambda: our_model(case, "reference"),
        "fairseq": lambda: build(case, "transformer"),
    }
    if place.device == "cpu":
        del ours["cuda-graphs"]
    models = {name: place.put(make()) for name, make in ours.items()}
    if case.what == "update":
        return {name: update_step(case, model, place) for name, model in models.items()}
    steps = {name: decoder_step(case, model.decoder, place) for name, model in models.items()}
    if case.what == "peers" and place == HERE:
        steps |= {name: make(case) for name, make in PEERS.items() if installed(name)}
    return steps


def our_model(case: Case, engine: str) -> Any:
    """A Feedback model."""
    return build(case, "memtx_feedback", memtx_engine=engine)


def build(case: Case, name: str, **settings: Any) -> Any:
    """One of fairseq's registered models at the case's sizes, in training mode."""
    args = Namespace(
        **{
            f"{side}_{key}": value
            for side, layers in (("encoder", case.encoder_layers), ("decoder", case.depth))
            for key, value in {
                "embed_dim": case.dim,
                "ffn_embed_dim": 4 * case.dim,
                "attention_heads": case.heads,
                "layers": layers,
                "layers_to_keep": None,
            }.items()
        },
        arch=name,
        dropout=case.dropout,
        share_all_embeddings=True,
        no_cross_attention=case.what == "peers",
        max_source_positions=1024,
        max_target_positions=1024,
        **settings,
    )
    transformer_legacy.base_architecture(args)
    dictionary = Dictionary()
    for number in range(case.vocab - len(dictionary)):
        dictionary.add_symbol(f"w{number}")
    task = SimpleNamespace(source_dictionary=dictionary, target_dictionary=dictionary)
    torch.manual_seed(1)
    return ARCH_MODEL_REGISTRY[name].build_model(args, task).train()


def decoder_step(case: Case, decoder: nn.Module, place: Place = HERE) -> Step:
    """Features from target tokens and a ready-made source, and back."""
    tokens, encoder_out = place.put(random_tokens(case)), random_source(case, place)
    (source,) = encoder_out["encoder_out"]
    grad = place.put(torch.randn(case.batch, case.length, case.dim))

    def step() -> None:
        decoder.zero_grad()
        source.grad = None
        features, _ = decoder(tokens, encoder_out=encoder_out, features_only=True)
        features.backward(grad)

    return step


def update_step(case: Case, model: Any, place: Place = HERE) -> Step:
    """A whole update: encoder, decoder, projection, label-smoothed cross-entropy, Adam."""
    from fairseq.criterions.label_smoothed_cross_entropy import label_smoothed_nll_loss

    source, target = place.put(random_tokens(case)), place.put(random_tokens(case))
    lengths = place.put(torch.full((case.batch,), case.length))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, betas=(0.9, 0.98))

    def step() -> None:
        optimizer.zero_grad()
        logits, extra = model(source, lengths, target)
        probs = model.get_normalized_probs((logits, extra), log_probs=True)
        loss, _ = label_smoothed_nll_loss(
            probs.flatten(0, 1), target.flatten(), 0.1, ignore_index=1
        )
        loss.backward()
        optimizer.step()

    return step


def labml_step(case: Case, shared: bool) -> Step:
    """labml-nn's decoder, plain or with keys and values computed once."""
    from labml_nn.transformers import feedback
    from labml_nn.transformers.feed_forward import FeedForward

    attention = feedback.FeedbackAttention(
        case.heads, case.dim, case.dropout, is_kv_precomputed=shared
    )
    ffn = FeedForward(case.dim, 4 * case.dim, case.dropout)
    layer = feedback.FeedbackTransformerLayer(
        d_model=case.dim, attn=attention, feed_forward=ffn, dropout_prob=case.dropout
    )
    if shared:
        model = feedback.FeedbackTransformerKV(layer, case.depth, case.dim, case.heads)
    else:
        model = feedback.FeedbackTransformer(layer, case.depth)
    x = torch.randn(case.length, case.batch, case.dim, requires_grad=True)
    return module_step(model, x, torch.randn_like(x))


def lucidrains_step(case: Case) -> Step:
    """feedback-transformer-pytorch's model, one token at a time as in the paper."""
    from feedback_transformer_pytorch import FeedbackTransformer

    model = FeedbackTransformer(
        num_tokens=case.vocab, dim=case.dim, depth=case.depth, seq_len=1, mem_len=case.length,
        heads=case.heads, dim_head=64, ff_dropout=case.dropout,
    )  # fmt: skip
    for _, ffn in model.layers:
        ffn.fn.fn.net = nn.Sequential(
            nn.Linear(case.dim, 4 * case.dim), nn.ReLU(), nn.Linear(4 * case.dim, case.dim)
        )
    model.to_logits = nn.LayerNorm(case.dim)
    return module_step(model, random_tokens(case), torch.randn(case.batch, case.length, case.dim))


def module_step(model: nn.Module, x: Tensor, grad: Tensor) -> Step:
    """Forward and backward of a module of one argument."""
    model.train()

    def step() -> None:
        model.zero_grad()
        model(x).backward(grad)

    return step


PEERS: dict[str, Callable[[Case], Step]] = {
    "labml-nn": lambda case: labml_step(case, shared=False),
    "labml-nn KV": lambda case: labml_step(case, shared=True),
    "feedback-transformer-pytorch": lucidrains_step,
}


def installed(peer: str) -> bool:
    """Whether a peer's package is here."""
    name = peer.removesuffix(" KV").replace("-", "_")
    return importlib.util.find_spec(name) is not None


def random_source(case: Case, place: Place = HERE) -> dict[str, list[Tensor]]:
    """An encoder's output, of which gradients can be taken; no padding."""
    source = place.put(torch.randn(case.length, case.batch, case.dim))
    mask = place.put(torch.zeros(case.batch, case.length, dtype=torch.bool))
    return {"encoder_out": [source.requires_grad_()], "encoder_padding_mask": [mask]}


def random_tokens(case: Case) -> Tensor:
    """Words `(B, T)`, no padding."""
    return torch.randint(4, case.vocab, (case.batch, case.length))
