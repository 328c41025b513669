"""From measurements to calibrations: tables read, utilisation fitted, and its error told."""
