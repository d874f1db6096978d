"""Tasks: targets, references, hypotheses and metrics of a question. A file is a kind."""
