"""Hidden states, targets and mask to a loss. A file is a kind; see ``pretrain/view.py`` for what each must give."""
