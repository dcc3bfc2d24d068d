"""The worker process claims batches, generates their images, and records the outcomes."""
