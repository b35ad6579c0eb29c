"""Checks of configs, and objects from config nodes."""
