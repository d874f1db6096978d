"""Models as graphs of plain operations, which other programs run without this package: ONNX and torch.export."""
