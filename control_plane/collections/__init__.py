"""Data structures, and ways to show them, that know nothing of clouds."""
