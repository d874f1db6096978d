"""The trainable RVQ-VAE whose codes are targets: SEANet and residual quantiser of the encodec package, our training."""
