"""Fast decoding in plain PyTorch: a beam search and the decoders' steps, without fairseq.

`search` is the search, `history` what it remembers, `words` the choice of words; `fused` runs the
steps of a decoder on weights prepared by `linear`, with the past in `beam_cache`.

`device_search` is the same search for GPUs: its steps (`device_step`) work on tensors that stay
where they are (`search_state`, `static_cache`) and are recorded (`step_graphs`).
"""
