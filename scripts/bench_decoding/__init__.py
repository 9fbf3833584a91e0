"""Decoding speed, quality and memory of any set of systems and modes."""
