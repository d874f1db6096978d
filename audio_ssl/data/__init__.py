"""Audio on disk to batches: files, manifests, corpora, stores, crops."""
