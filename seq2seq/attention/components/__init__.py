"""Parts that attention mechanisms are composed of: scores, windows, patterns, normalizers, selections ..."""
