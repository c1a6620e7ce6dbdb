# nixos-version(8)
# shellcheck shell=bash
version=$(</run/current-system/nixos-version)
case ${1:-} in
  --json) printf '{"nixosVersion":"%s"}\n' "$version" ;;
  *) echo "$version (Trixie)" ;;
esac
