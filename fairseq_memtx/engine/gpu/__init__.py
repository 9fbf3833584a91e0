"""The manual engine on a GPU, its loops captured in CUDA graphs and replayed.

NOT YET RUN ON A GPU, like `decoding.gpu`, which stands on it: both were written and tested on a
CPU, where a recorder that replays the operations stands for the graphs. Tests with `-m gpu` wait
for a machine. Nothing else in the library needs these two packages, and a reader can skip them.

`cuda_graphs` is the engine: `replay` chooses between the loops and a `recording` of them, which
serves all batches whose sizes are the same after `rounded_sizes` and lies in the memory of an
`arena`.
"""
