"""The beam search run by a GPU alone, its steps captured in CUDA graphs.

NOT YET RUN ON A GPU: see `engine.gpu`, on which it stands.

`device_search` is the search of `decoding.beam_search` by other means: its steps (`device_step`)
work on tensors that stay where they are (`device_state`, `static_cache`) and are recorded
(`step_graphs`).
"""
