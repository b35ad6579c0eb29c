"""Parts of attention mechanisms: scores, windows, patterns, normalizers, selections and others."""
