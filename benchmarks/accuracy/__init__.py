"""How far predictions are from measurements, computed from a folder of data."""
