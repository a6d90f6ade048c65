"""Real data and small models."""
