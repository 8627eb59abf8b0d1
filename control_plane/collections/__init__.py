"""Data structures that know nothing of clouds."""
