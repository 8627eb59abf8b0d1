"""The HTTP server for operators: health, metrics, status and commands."""
