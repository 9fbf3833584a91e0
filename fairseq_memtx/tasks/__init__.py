"""Adapters: one file for each task registered with fairseq."""
