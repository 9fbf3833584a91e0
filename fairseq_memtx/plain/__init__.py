"""Models in plain PyTorch, for translating without fairseq.

`memory_steps`, `feedback_steps` and `segment_steps` are what the memory decoders do with a target:
the adapters to fairseq stand on them too. The rest is fairseq's Transformer as far as a trained
model needs it, by the same names of parameters, in evaluation only.
"""
