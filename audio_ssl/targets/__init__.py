"""What models are trained to predict: teachers, the codec, stored targets."""
