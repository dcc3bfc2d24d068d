"""The worker process: claim batches, generate their images, record the outcomes."""
