"""What the translator and its commands stand on: settings, lines, hypotheses, formats, scores."""
