"""Evaluation of a trained model: metrics of a split, gold annotations, faithfulness, controls and efficiency."""
