"""Clouds: one cloud (`manifest`, `model`, `policy`) and all known clouds (`inventory`). Pure."""
