"""The entry points: the API, the workers and the sweeper. They call the steps of the pipeline."""
