"""Pretraining: recipes, the training loop, teachers, checkpoints.

The path of one update is in four files, `loop`, `audio_ssl.data.loader`, `update` and `learner`. Read in this order:

1. ``loop.train``: device, learner, checkpoint to resume from; ``_train_from`` makes one update after the other.
2. ``loader.Loader._items``, in a thread: the plan of an epoch becomes micro-batches (``load_crop``, ``collate``).
3. ``update.Updater.add``: forwards and backwards through one micro-batch, with its own seeds.
4. ``learner.MaskedLearner.forward``: mixing, masks, frontend and encoder (``_encode``), targets, objectives, as sums.
5. ``update.Updater.finish``: sums over processes (``gather``), learning rate, clipping, optimiser (``apply``).
6. ``learner.MaskedLearner.after_update``: teachers and statistics that follow the parameters.
7. ``loop._Run.finish_update``: the row of metrics, guards, validation, checkpoint.

What these call is one call each: processes (`distributed`, `replicas`), optimiser and schedule (`optim`), masks
(`masking`), what objectives see (`view`), guards and signals (`guards`), logs (`log`), files (`checkpoint`).
"""
