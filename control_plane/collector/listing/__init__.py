"""Lists of several clouds: items, pages, order, markers. Pure."""
