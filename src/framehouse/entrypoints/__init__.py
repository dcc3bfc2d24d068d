"""The entrypoints: the API, the workers and the sweeper. The entrypoints call the steps of the pipeline."""
