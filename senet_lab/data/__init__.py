"""Data sets on the training device, augmentation, batches."""
