"""Asks the clouds of one request."""
