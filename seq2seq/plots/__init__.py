"""Drawings of attention, stored with the arrays that they show."""
