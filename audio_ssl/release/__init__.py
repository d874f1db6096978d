"""From a run to a model that ships in the wheel: ``python -m audio_ssl.release RUN --name NAME --summary TEXT``.

What the card says is gathered as data (`facts`) and written from it (`card`); nothing is typed by
hand but the summary, the licence of the weights, the cores and the watts assumed for each.
"""
