"""Many runs side by side: figures with their certainty, what attention does, one page."""
