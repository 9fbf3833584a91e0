"""Adapters: which training pairs fairseq feeds, in which batches, and when."""
