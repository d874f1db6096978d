"""What is asked: targets, references, hypotheses and metrics. A file is a kind."""
