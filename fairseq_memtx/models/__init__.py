"""Adapters: one file for each model registered with fairseq."""
