"""The named experiments: their data, model sizes, training and decoding options, as plain data.

Nothing here runs anything. `commands` turns an :class:`Experiment` into command lines.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Data:
    """What is prepared by ``python -m data_prep``.

    ``train``, ``valid`` and ``test`` are prefixes below the corpora folder (``PREFIX.en[.gz]``);
    a pattern such as ``train/*`` stands for all prefixes it matches. ``vocab_size`` counts
    sentencepiece pieces shared by both languages; ``documents`` is the size of the sample.
    """

    command: str  # subcommand of data_prep: sample, parallel or wmt14
    vocab_size: int
    train: tuple[str, ...] = ()
    valid: str = ""
    test: str = ""
    documents: int | None = None
    source_lang: str = "en"
    target_lang: str = "de"

    @property
    def needs_corpora(self) -> bool:
        """Whether the text has to be given by ``--corpora``."""
        return self.command == "parallel"


@dataclass(frozen=True)
class Model:
    """Sizes of encoder and decoder; the decoder's depth is the experiment's variable.

    ``segment_len`` is in subwords, for the decoders that work in segments. Their memory is as long,
    the compressed memory half as long; it is shorter than most targets, so that both are used.
    """

    encoder_layers: int
    embed_dim: int
    ffn_dim: int
    heads: int
    dropout: float
    pre_norm: bool = True
    segment_len: int = 8


@dataclass(frozen=True)
class Training:
    """Options of fairseq-train. ``max_tokens`` is target or source tokens in a batch, padding
    included; ``warmup_updates`` and ``max_update`` are updates, ``max_epoch`` epochs (0: no limit).
    """

    max_tokens: int
    lr: float
    warmup_updates: int
    max_epoch: int = 0
    max_update: int = 0
    update_freq: int = 1
    label_smoothing: float = 0.1
    clip_norm: float = 1.0
    weight_decay: float = 0.0
    keep_last_epochs: int = 8
    save_interval_updates: int = 0
    keep_interval_updates: int = 1
    log_interval: int = 50
    fp16: bool = False
    extra: tuple[str, ...] = ()  # further flags of fairseq-train, as typed on its command line


@dataclass(frozen=True)
class Decoding:
    """Options of generation and of the speed measurement.

    ``speed_batches`` are sentences in a batch; with one sentence at a time only the first
    ``speed_lines_single`` lines of the test set are translated, to stay affordable.
    """

    beam: int = 5
    lenpen: float = 1.0
    batch_size: int = 32
    max_len_a: float = 1.2
    max_len_b: int = 10
    speed_batches: tuple[int, ...] = (1, 32)
    speed_lines_single: int = 100
    speed_lines_batched: int = 1000
    repeats: int = 5


@dataclass(frozen=True)
class Experiment:
    """One named experiment. ``average_last`` checkpoints are averaged; a model has learnt when its
    BLEU is at least ``min_gain`` above the BLEU of copying the source."""

    name: str
    summary: str
    data: Data
    model: Model
    training: Training
    decoding: Decoding = field(default_factory=Decoding)
    decoders: tuple[str, ...] = ("transformer", "feedback")
    depths: tuple[int, ...] = (1, 2)
    seeds: tuple[int, ...] = (1,)
    average_last: int = 5
    min_gain: float = 10.0
    device: str = "cpu"  # cpu, or gpu where there is one
    published: bool = True  # results go to results/NAME rather than into the runs folder


_DEMO = Experiment(
    name="demo",
    summary="the embedded sample in a quarter of an hour on two cores",
    data=Data("sample", vocab_size=1500),
    model=Model(encoder_layers=2, embed_dim=128, ffn_dim=256, heads=4, dropout=0.1),
    training=Training(
        max_tokens=1200,
        lr=3e-3,
        warmup_updates=300,
        max_update=1100,
        save_interval_updates=100,
        keep_interval_updates=3,
    ),
    decoding=Decoding(speed_lines_single=30, speed_lines_batched=300),
    average_last=3,
    published=False,
)

_MULTI30K = Experiment(
    name="multi30k",
    summary="image captions, 29,000 real pairs, about an hour for each model on one core",
    data=Data(
        "parallel",
        vocab_size=6000,
        train=("multi30k/train",),
        valid="multi30k/val",
        test="multi30k/test_2016_flickr",
    ),
    model=Model(encoder_layers=3, embed_dim=256, ffn_dim=512, heads=4, dropout=0.2),
    training=Training(max_tokens=1000, lr=3e-3, warmup_updates=600, max_epoch=10),
    depths=(1,),
)

_WMT14_MINI = Experiment(
    name="wmt14-mini",
    summary="300,000 real pairs of mixed text, newstest2013 and newstest2014",
    data=Data(
        "parallel",
        vocab_size=16000,
        train=("train/*",),
        valid="wmt14/newstest2013",
        test="wmt14/newstest2014",
    ),
    model=Model(
        encoder_layers=6, embed_dim=512, ffn_dim=1024, heads=8, dropout=0.2, segment_len=16
    ),
    training=Training(
        max_tokens=4000, lr=1e-3, warmup_updates=4000, max_epoch=20, save_interval_updates=1000
    ),
)

_WMT14 = Experiment(
    name="wmt14",
    summary="the official 4.5 million pairs, the sizes of the papers; wants a GPU",
    data=Data("wmt14", vocab_size=32000),
    model=Model(
        encoder_layers=6,
        embed_dim=512,
        ffn_dim=2048,
        heads=8,
        dropout=0.1,
        pre_norm=False,
        segment_len=16,
    ),
    training=Training(
        max_tokens=4000,
        lr=7e-4,
        warmup_updates=4000,
        max_update=100_000,
        update_freq=8,
        clip_norm=0.0,
        keep_last_epochs=10,
        save_interval_updates=2000,
        fp16=True,
    ),
    decoding=Decoding(beam=4, lenpen=0.6),
    depths=(1, 2, 6),
    device="gpu",
)

EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        _DEMO,
        replace(
            _DEMO,
            name="sample",
            summary="the embedded sample, trained for longer",
            training=replace(
                _DEMO.training, max_update=5000, warmup_updates=500, save_interval_updates=250
            ),
            decoding=Decoding(),
            depths=(1, 2, 4),
        ),
        _MULTI30K,
        _WMT14_MINI,
        _WMT14,
    )
}
