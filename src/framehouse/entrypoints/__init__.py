"""The entry points: the API, the workers and the sweeper. The entry points call the steps of the pipeline."""
