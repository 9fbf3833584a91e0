"""Adapters: one file for each criterion registered with fairseq."""
