"""Speed and memory of the data preparation."""
