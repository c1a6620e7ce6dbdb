"""A `nixos-rebuild switch` keeps lab's sessions alive."""
