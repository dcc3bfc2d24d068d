"""The HTTP API, the images, the pages of the console, and the endpoints for health checks and metrics."""
