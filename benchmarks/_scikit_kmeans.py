"""scikit-learn's k-means with the settings of fairseq's ``learn_kmeans.py``, which others are held to."""

from __future__ import annotations

from typing import Any


def fairseq_kmeans(clusters: int, seed: int, batch_frames: int = 10_000, tries: int = 20) -> Any:
    """Return a ``MiniBatchKMeans`` that has yet to be fitted.

    Parameters
    ----------
    clusters
        Number of centroids.
    seed
        Of its starts and batches.
    batch_frames, tries
        Frames of a mini-batch, and starts of which the best is kept; the defaults are fairseq's.
    """
    from sklearn.cluster import MiniBatchKMeans

    return MiniBatchKMeans(
        clusters,
        batch_size=batch_frames,
        n_init=tries,
        max_iter=100,
        tol=0.0,
        max_no_improvement=100,
        reassignment_ratio=0.0,
        compute_labels=False,
        random_state=seed,
    )
