"""The text, the models and the table of the studies of characters."""
