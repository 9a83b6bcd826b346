"""From training clips to a fitted model; no test clip ever comes here."""
