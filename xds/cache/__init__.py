"""Sources that are ready for use: a snapshot for each node or group, and single resources."""
