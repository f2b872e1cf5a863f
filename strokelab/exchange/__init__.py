"""To and from nnU-Net: cohorts become its raw datasets, its trained models become run folders. Never imports it."""

from strokelab.exchange.raw_dataset import RawDataset, export_nnunet

__all__ = ["RawDataset", "export_nnunet"]
