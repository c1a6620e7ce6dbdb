"""Inodes stay within budget."""
