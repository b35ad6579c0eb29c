"""Attention made visible: heat-maps with the arrays behind them."""
