"""What comes in and goes out: requests, ways, answers, reports. Pure."""
