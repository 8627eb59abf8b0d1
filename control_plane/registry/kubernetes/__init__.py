"""Clouds, cordons and service types as objects of a Kubernetes API server."""
