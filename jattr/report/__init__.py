"""Images of results."""
