"""What is trained on frozen features. A file is a kind."""
