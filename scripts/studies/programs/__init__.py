"""The experiment of state tracking: what is trained, how it is scored, its page."""
