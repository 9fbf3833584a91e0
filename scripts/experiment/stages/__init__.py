"""The stages of an experiment, and the records that they leave."""
