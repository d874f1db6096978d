"""What is faster than the plain modules and computes the same."""
