"""Fast decoding in plain PyTorch: a beam search and the decoders' steps, without fairseq.

`beam_search` is the search: `search_options` says what is asked of it, `rules` which words may
come, `candidates` which are the best, `history` what it remembers. `fused` runs the steps of a
decoder on weights prepared by `linear`, with the past in `beam_cache`, of which `fused_memory` and
`fused_segments` say for the Feedback decoder and for segments what it holds and who sees it;
`fused_parts` is what they share, and `encoder` does as much for the encoder.
`shortlist` and `lexical_table` limit the words. `gpu` is apart: the same search for GPUs.
"""
