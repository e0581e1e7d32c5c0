"""The specification: integer models in NumPy, one for each hardware block, which the RTL equals bit for bit."""
