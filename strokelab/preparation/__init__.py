"""Brings a case onto the model's grid, keeps it there, and knows the way back; knows no network."""
