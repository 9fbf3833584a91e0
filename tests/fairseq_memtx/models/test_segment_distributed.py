"""Two ranks with targets of different lengths: no parameter is waited for in vain."""

import os
import socket

import pytest
import torch
from torch import distributed, multiprocessing

from tests.fairseq_memtx.segments import build, criterion, sample_of

# Rank 1 compresses nothing in the first step, rank 0 nothing in the second.
LENGTHS = [([14, 5], [2, 1]), ([3, 3], [13, 9])]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def train(rank: int, port: int, case: str, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    model = build(case).train()
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    parallel.get_normalized_probs = model.get_normalized_probs
    parallel.get_targets = model.get_targets
    for step, lengths in enumerate(LENGTHS):
        model.zero_grad()
        criterion()(parallel, sample_of([4, 6], lengths[rank]))[0].backward()
        grads = {name: p.grad for name, p in model.named_parameters()}
        torch.save(grads, f"{folder}/{rank}-{step}.pt")
    # The group is not taken down: see `test_training_modes`.


@pytest.mark.slow
@pytest.mark.parametrize("case", ["xl", "conv", "auto-encoding", "most-used"])
def test_ranks_agree_on_the_mean_of_their_gradients(case, tmp_path):
    multiprocessing.spawn(train, args=(free_port(), case, str(tmp_path)), nprocs=2)
    model = build(case).train()
    for step, lengths in enumerate(LENGTHS):
        model.zero_grad()
        sum(criterion()(model, sample_of([4, 6], mine))[0] / 2 for mine in lengths).backward()
        expected = {name: p.grad for name, p in model.named_parameters()}
        for rank in range(2):
            found = torch.load(tmp_path / f"{rank}-{step}.pt", weights_only=True)
            torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
