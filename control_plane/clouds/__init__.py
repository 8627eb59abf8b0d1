"""Clouds: what a manifest says (`model`, `manifest`) and all known clouds at once (`inventory`)."""
