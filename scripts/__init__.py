"""The experiment: train, average, generate, score, measure and report, each a command of its own.

Run from the checkout as ``python -m scripts.<command>``; ``scripts.experiment`` runs them all.
"""
