"""The HTTP server: the API, the images, the console, and the endpoints for health checks and metrics."""
