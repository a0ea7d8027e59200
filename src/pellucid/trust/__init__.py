"""How far to trust a map: measures of faithfulness and localisation, and sanity checks."""
