"""Decision: from residuals to certificates and verdicts."""
