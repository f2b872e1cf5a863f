"""Random changes of samples, drawn first and applied after. Knows tensors and streams; knows no files or models."""
