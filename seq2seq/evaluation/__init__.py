"""Scoring a trained model: metrics over a split, gold links, faithfulness, controls, efficiency."""
