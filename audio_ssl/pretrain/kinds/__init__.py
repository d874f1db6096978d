"""What a recipe can train: the top-level ``kind:`` of a recipe names a file of this folder."""
