"""Hidden states, targets and mask to a loss. A file is a kind; see ``_base.py`` for what each must give."""
