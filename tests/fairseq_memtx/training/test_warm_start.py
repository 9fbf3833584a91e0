"""Starting from a Transformer's weights: what goes where, what equality must follow, refusals."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fairseq import checkpoint_utils, tasks, utils
from torch import nn

from fairseq_memtx.config import WarmStartOptions
from fairseq_memtx.ground.errors import UserError
from fairseq_memtx.modules.weight_transfer import (
    LayerPlan,
    Report,
    choose_layers,
    choose_memory,
    origin,
    transfer,
)
from fairseq_memtx.training.warm_start import make_plan, settings_that_count
from tests.fairseq_memtx.tiny import build_model, random_source, random_tokens
from tests.fairseq_memtx.tiny_training import (
    assert_equal,
    config_of,
    load,
    make_data,
    run_training,
    write_dictionary,
)

BOTH_NORMS = pytest.mark.parametrize("pre_norm", [False, True])


def plan_for(model: nn.Module, theirs: dict, **options: str) -> LayerPlan:
    return make_plan(WarmStartOptions(init_from="theirs.pt", **options), theirs, model)


def warm_start(theirs: nn.Module, ours: nn.Module, **options: str) -> Report:
    """Give `ours` the weights of `theirs`."""
    weights = dict(theirs.named_parameters())
    plan = plan_for(ours, weights, **options)
    return transfer(weights, ours.named_parameters(remove_duplicate=False), plan)


def tiny_pair(depths: tuple[int, int] = (1, 1), **settings: Any) -> tuple[Any, Any]:
    """A Transformer and a Feedback model of the given decoder depths, with other weights."""
    theirs = build_model("transformer", seed=3, decoder_layers=depths[0], **settings)
    ours = build_model(seed=4, decoder_layers=depths[1], **settings)
    return theirs, ours


# --- Which layer feeds which -------------------------------------------------------------------


@pytest.mark.parametrize(
    "choice, theirs, ours, layers",
    [
        ("spread", 6, 1, (5,)),
        ("spread", 6, 2, (2, 5)),
        ("spread", 6, 3, (1, 3, 5)),
        ("spread", 6, 4, (0, 2, 3, 5)),
        ("spread", 6, 6, (0, 1, 2, 3, 4, 5)),
        ("first", 6, 2, (0, 1)),
        ("last", 6, 2, (4, 5)),
        ("4,0", 6, 2, (4, 0)),
    ],
)
def test_layers_are_chosen(choice: str, theirs: int, ours: int, layers: tuple) -> None:
    assert choose_layers(choice, theirs, ours) == layers


@pytest.mark.parametrize("theirs", range(1, 13))
def test_spread_layers_ascend_to_the_last(theirs: int) -> None:
    for ours in range(1, theirs + 1):
        layers = choose_layers("spread", theirs, ours)
        assert layers == tuple(sorted(set(layers))) and layers[-1] == theirs - 1


@pytest.mark.parametrize("choice", ["middle", "1", "1,2,3", "0,6", "0,-1", ""])
def test_layers_that_do_not_fit_are_refused(choice: str) -> None:
    with pytest.raises(ValueError, match="2 numbers from 0 to 5"):
        choose_layers(choice, 6, 2)


def test_a_shallower_source_is_refused() -> None:
    with pytest.raises(ValueError, match="has 2 decoder layers: at least 3 are needed"):
        choose_layers("spread", 2, 3)


def test_the_memory_comes_from_the_layers_or_one() -> None:
    assert choose_memory("average", (2, 5), 6) == (2, 5)
    assert choose_memory("3", (2, 5), 6) == (3,)
    with pytest.raises(ValueError, match="memory 6: choose average or a number from 0 to 5"):
        choose_memory("6", (2, 5), 6)


def test_origins_by_hand() -> None:
    plan = LayerPlan(layers=(2, 5), memory=(2, 5))
    k_proj = ("decoder.layers.2.self_attn.k_proj.bias", "decoder.layers.5.self_attn.k_proj.bias")
    expected = {
        "encoder.layers.0.fc1.weight": ("encoder.layers.0.fc1.weight",),
        "decoder.embed_tokens.weight": ("decoder.embed_tokens.weight",),
        "decoder.layers.1.encoder_attn.k_proj.bias": ("decoder.layers.5.encoder_attn.k_proj.bias",),
        "decoder.layers.0.self_attn.q_proj.weight": ("decoder.layers.2.self_attn.q_proj.weight",),
        "decoder.memory.k_proj.0.bias": k_proj,
        "decoder.memory.mixture.weight": (),
        "decoder.memory.distance_keys": (),
        # what a decoder of another family has beyond a Transformer's
        "decoder.layers.0.self_attn.positions.r_proj.weight": (),
        "decoder.layers.0.self_attn.compression.conv.weight": (),
    }
    assert {name: origin(name, plan) for name in expected} == expected


# --- What equality must follow -----------------------------------------------------------------


@BOTH_NORMS
@pytest.mark.parametrize("memory", ["average", "0"])
def test_every_weight_is_where_it_belongs(pre_norm: bool, memory: str) -> None:
    norms = {"decoder_normalize_before": pre_norm, "encoder_normalize_before": pre_norm}
    theirs, ours = tiny_pair((3, 2), memtx_relative_positions=4, **norms)
    before = {name: weight.clone() for name, weight in ours.named_parameters()}
    report = warm_start(theirs, ours, init_layers="0,2", init_memory=memory)
    source, target = theirs.decoder.layers, ours.decoder.layers
    for number, layer in enumerate((0, 2)):
        for name, weight in target[number].named_parameters():
            assert torch.equal(weight, source[layer].get_parameter(name)), name
    chosen = (source[0], source[2]) if memory == "average" else (source[0],)
    norms_of = [("layer_norm", "self_attn_layer_norm")] if pre_norm else []
    for part, name in [("k_proj.0", "self_attn.k_proj"), ("v_proj.0", "self_attn.v_proj")] + (
        norms_of
    ):
        for kind in ("weight", "bias"):
            mean = sum(layer.get_parameter(f"{name}.{kind}") for layer in chosen) / len(chosen)
            weight = ours.decoder.memory.get_parameter(f"{part}.{kind}")
            torch.testing.assert_close(weight, mean, rtol=0, atol=1e-15)
    assert_equal(dict(ours.encoder.named_parameters()), dict(theirs.encoder.named_parameters()))
    assert report.initialised == ["decoder.memory.distance_keys", "decoder.memory.mixture.weight"]
    for name in report.initialised:
        assert torch.equal(ours.get_parameter(name), before[name])
    everything = {*report.copied, *report.averaged, *report.initialised}
    assert everything == {name for name, _ in ours.named_parameters(remove_duplicate=False)}


@BOTH_NORMS
def test_one_layer_differs_only_in_seeing_itself(
    pre_norm: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit case: with the embedding as memory, Feedback of one layer is a Transformer that
    attends to the positions before the current one, which a Transformer's mask can express.
    """
    # fairseq's softmax is in float32 even where all else is in float64
    monkeypatch.setattr(utils, "softmax", lambda x, dim, onnx_trace=False: x.softmax(dim))
    theirs, ours = tiny_pair(decoder_normalize_before=pre_norm, memtx_memory_mixture="first")
    warm_start(theirs, ours)
    tokens, source = random_tokens([7, 5, 2]), random_source([4, 6, 3])
    assert not torch.allclose(ours.decoder(tokens, source)[0], theirs.decoder(tokens, source)[0])

    def strictly_before(x: torch.Tensor) -> torch.Tensor:
        mask = torch.full((len(x), len(x)), float("-inf"), dtype=x.dtype).triu()
        mask[0, 0] = 0.0  # the first position would have nothing to attend to
        return mask

    theirs.decoder.buffered_future_mask = strictly_before
    one, other = ours.decoder(tokens, source)[0], theirs.decoder(tokens, source)[0]
    real = tokens.ne(1)
    real[:, 0] = False
    torch.testing.assert_close(one[real], other[real], rtol=0, atol=1e-12)


def test_layers_with_a_projection_each_take_their_own() -> None:
    theirs, ours = tiny_pair((2, 2), memtx_memory_kv="per-layer")
    report = warm_start(theirs, ours)
    for number in range(2):
        layer = theirs.decoder.layers[number].self_attn
        assert torch.equal(ours.decoder.memory.k_proj[number].weight, layer.k_proj.weight)
    assert not report.averaged


def test_a_channel_takes_the_average_of_the_layers_that_feed_its_readers() -> None:
    options = {"memtx_memory_mixture": "routed", "memtx_memory_channels": 2}
    theirs, ours = tiny_pair((3, 3), **options)
    before = {name: weight.clone() for name, weight in ours.named_parameters()}
    report = warm_start(theirs, ours)
    first, second, third = (x.self_attn.v_proj.weight for x in theirs.decoder.layers)
    pairs = [proj.weight for proj in ours.decoder.memory.v_proj]
    torch.testing.assert_close(pairs[0], (first + third) / 2, rtol=0, atol=1e-15)
    assert torch.equal(pairs[1], second)
    kept = ["decoder.memory.mixture.weight", "decoder.memory.mixture.router"]
    assert report.initialised == kept
    assert all(torch.equal(ours.get_parameter(name), before[name]) for name in kept)


@pytest.mark.parametrize(
    "family, new",
    [
        ("memtx_transformer_xl", {"positions"}),
        ("memtx_compressive", {"positions", "compression"}),
    ],
)
def test_other_families_take_all_that_a_transformer_has(family: str, new: set[str]) -> None:
    theirs = build_model("transformer", seed=3, decoder_layers=3)
    ours = build_model(family, seed=4, arch=family)
    report = warm_start(theirs, ours, init_layers="0,2")
    for number, layer in enumerate((0, 2)):
        for name, weight in theirs.decoder.layers[layer].named_parameters():
            assert torch.equal(ours.decoder.layers[number].get_parameter(name), weight)
    assert {name.split(".")[4] for name in report.initialised} == new
    assert not report.averaged


def test_an_encoder_that_remembers_takes_all_but_positions() -> None:
    family = "memtx_transformer_xl"
    theirs = build_model("transformer", seed=3, encoder_learned_pos=True)
    ours = build_model(family, seed=4, arch=family, memtx_encoder_memory=4)
    report = warm_start(theirs, ours)
    mine, named = dict(ours.encoder.named_parameters()), dict(theirs.encoder.named_parameters())
    assert named.pop("embed_positions.weight") is not None
    assert all(torch.equal(mine[name], weight) for name, weight in named.items())
    new = {f"encoder.{name}" for name in mine.keys() - named.keys()}
    assert {name.split(".")[4] for name in new} == {"positions"}
    assert new == {name for name in report.initialised if name.startswith("encoder.")}
    assert "encoder.embed_positions.weight" in report.left_out
    assert {"encoder_learned_pos", "decoder_learned_pos"}.isdisjoint(settings_that_count(ours))


def test_equal_projections_average_to_themselves() -> None:
    theirs, ours = (model.float() for model in tiny_pair((3, 3)))
    first = theirs.decoder.layers[0].self_attn.k_proj.weight
    for layer in theirs.decoder.layers:
        layer.self_attn.k_proj.weight.data = first.data.clone()
    warm_start(theirs, ours)
    assert torch.equal(ours.decoder.memory.k_proj[0].weight, first)


# --- Refusals ----------------------------------------------------------------------------------


def check_refused(theirs: nn.Module, ours: nn.Module, says: str) -> None:
    before = {name: weight.clone() for name, weight in ours.named_parameters()}
    with pytest.raises(ValueError, match=says):
        warm_start(theirs, ours)
    assert_equal({name: weight.data for name, weight in ours.named_parameters()}, before)


def test_other_sizes_are_refused_and_nothing_is_written() -> None:
    theirs = build_model("transformer", decoder_ffn_embed_dim=12)
    ours = build_model()
    check_refused(theirs, ours, r"has `.*fc1.weight` of size \(12, 8\) .* of size \(10, 8\)")


def test_a_missing_encoder_layer_is_refused() -> None:
    check_refused(
        build_model("transformer"), build_model(encoder_layers=2), "has no `encoder.layers.1"
    )


def test_an_encoder_layer_without_a_place_is_refused() -> None:
    check_refused(
        build_model("transformer", encoder_layers=2), build_model(), "for which there is no place"
    )


def test_embeddings_shared_here_and_not_there_are_refused() -> None:
    sizes = {"encoder_embed_dim": 8}
    theirs = build_model("transformer", **sizes)
    ours = build_model(share_all_embeddings=True, **sizes)
    check_refused(theirs, ours, "does not share `encoder.embed_tokens.weight` and")


# --- The flag ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_data(tmp_path_factory.mktemp("warm_start") / "data", train_pairs=40)


SHORT = ["--max-update", "2", "--disable-validation", "--no-epoch-checkpoints"]


@pytest.fixture(scope="module")
def checkpoint(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a Transformer with two decoder layers, trained by stock fairseq."""
    folder = tmp_path_factory.mktemp("transformer")
    transformer = ["--arch", "transformer", "--decoder-layers", "2"]
    run_training(data, folder, *transformer, *SHORT, task="translation")
    return folder / "checkpoint_last.pt"


def build(data: Path, save_dir: Path, checkpoint: Path | str, *flags: str) -> Any:
    """The model as fairseq-train builds it."""
    cfg = config_of(data, save_dir, "--memtx-init-from", str(checkpoint), *flags)
    return tasks.setup_task(cfg.task).build_model(cfg.model)


def test_the_flag_starts_from_the_checkpoint(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    model = build(data, tmp_path / "save", checkpoint)
    theirs = load(checkpoint)["model"]
    k_proj = theirs["decoder.layers.1.self_attn.k_proj.weight"]
    assert torch.equal(model.decoder.memory.k_proj[0].weight, k_proj)
    report = read_report(tmp_path / "save")
    assert report["layers"] == [1]
    assert report["copied"]["decoder.layers.0.fc1.bias"] == "decoder.layers.1.fc1.bias"
    assert report["initialised"] == ["decoder.memory.mixture.weight"]
    assert "decoder.layers.0.fc1.bias" in report["left_out"]


def test_learned_positions_may_be_given_up_for_relative_ones(data: Path, tmp_path: Path) -> None:
    """They must be learned on both sides only where both decoders have absolute ones."""
    transformer = ["--arch", "transformer", "--decoder-learned-pos"]
    run_training(data, tmp_path, *transformer, *SHORT, task="translation")
    learned, save = tmp_path / "checkpoint_last.pt", tmp_path / "save"
    with pytest.raises(UserError, match=r"--decoder-learned-pos is .*: it has to be True"):
        build(data, save, learned)
    build(data, save, learned, "--decoder-learned-pos")
    assert "decoder.embed_positions.weight" in read_report(save)["copied"]
    build(data, save, learned, "--arch", "memtx_transformer_xl")
    assert "decoder.embed_positions.weight" in read_report(save)["left_out"]


def read_report(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "warm_start.json").read_text(encoding="utf-8"))


def test_training_goes_on_from_its_own_checkpoint(
    data: Path, checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """When resumed, the source is neither needed nor applied again; nor is it to decode."""
    moved = tmp_path / "moved.pt"
    moved.write_bytes(checkpoint.read_bytes())
    save, start = tmp_path / "save", ["--memtx-init-from", str(moved)]
    run_training(data, save, *SHORT, *start)
    moved.unlink()
    run_training(data, save, *SHORT, *start, "--max-update", "3")
    assert "no warm start: this training was begun before" in caplog.text
    trained = load(save / "checkpoint_last.pt")
    assert trained["optimizer_history"][-1]["num_updates"] == 3
    path = str(save / "checkpoint_last.pt")
    (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task([path])
    name = "decoder.layers.0.fc1.weight"
    assert torch.equal(model.get_parameter(name), trained["model"][name])


@pytest.mark.parametrize(
    "flags, says",
    [
        ("--decoder-layers 3", "has 2 decoder layers: at least 3 are needed"),
        ("--decoder-attention-heads 4", "--decoder-attention-heads is 4: it has to be 2, as in"),
        ("--decoder-normalize-before", "--decoder-normalize-before is True: it has to be False"),
        ("--decoder-ffn-embed-dim 10", r"of size \(8, 8\) for .* of size \(10, 8\)"),
        ("--memtx-init-layers 2", "choose spread, first, last or 1 numbers from 0 to 1"),
        ("--finetune-from-model other.pt", "only one of --memtx-init-from and --finetune-from"),
        ("--memtx-init-memory all", "memory all: choose average or a number from 0 to 1"),
    ],
)
def test_what_does_not_fit_is_refused(
    flags: str, says: str, data: Path, checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=says) as refusal:
        build(data, tmp_path, checkpoint, *flags.split())
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "flag, value", [("--memtx-init-layers", "last"), ("--memtx-init-memory", "0")]
)
def test_what_would_have_no_effect_is_refused(flag, value, data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{flag} is .* leave it out without --memtx-init-from"):
        tasks.setup_task(config_of(data, tmp_path, flag, value).task)


def test_another_dictionary_is_refused(data: Path, checkpoint: Path, tmp_path: Path) -> None:
    other = make_data(tmp_path / "other", train_pairs=10)
    dictionary = write_dictionary(other)
    symbols = dictionary.symbols
    symbols[-1], symbols[-2] = symbols[-2], symbols[-1]
    for language in ("en", "de"):
        dictionary.save(str(other / f"dict.{language}.txt"))
    with pytest.raises(UserError, match="the source dictionary is not that of --memtx-init-from"):
        build(other, tmp_path, checkpoint)


def test_a_dictionary_that_is_gone_is_warned_of(
    data: Path, checkpoint: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = load(checkpoint)
    state["cfg"]["task"]["data"] = str(tmp_path / "gone")
    torch.save(state, tmp_path / "alone.pt")
    build(data, tmp_path, tmp_path / "alone.pt")
    assert "the target dictionary of" in caplog.text and "was not found" in caplog.text


def test_no_checkpoint_is_refused(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no file"):
        build(data, tmp_path, tmp_path / "none.pt")


def test_a_checkpoint_of_something_else_is_refused(
    data: Path, checkpoint: Path, tmp_path: Path
) -> None:
    state = load(checkpoint)
    state["model"] = {k: v for k, v in state["model"].items() if "k_proj" not in k}
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(UserError, match=r"is not a checkpoint of fairseq's Transformer"):
        build(data, tmp_path, tmp_path / "other.pt")
