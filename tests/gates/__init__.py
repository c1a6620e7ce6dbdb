"""Rules that no linter knows."""
