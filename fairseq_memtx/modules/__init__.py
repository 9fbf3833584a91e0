"""Building blocks in plain PyTorch. Nothing here imports fairseq.

Size legend used throughout: B sentences, T target positions, S source positions, C model dimension,
H attention heads, D = C / H head dimension, F feed-forward dimension, L decoder layers.
"""
