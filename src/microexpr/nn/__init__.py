"""Building blocks of the networks: scans, mixers, attention."""
