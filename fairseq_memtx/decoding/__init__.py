"""Fast decoding in plain PyTorch: a beam search and the decoders' steps, without fairseq.

`search` is the search, `history` what it remembers, `words` the choice of words; `fused` runs the
steps of a decoder on weights prepared by `linear`, with the past in `beam_cache`.
"""
