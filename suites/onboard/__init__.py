"""The onboarded host is what hosts/dev says, and reaches what it needs."""
