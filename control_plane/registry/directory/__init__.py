"""Clouds that are registered as files of a folder."""
