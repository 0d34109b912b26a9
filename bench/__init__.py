"""Numbers as ratios, measured in one run on one host: ``make bench``. Nothing here is a test."""
