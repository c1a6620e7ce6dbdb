# nixos-rebuild: build the system that /etc/nixos describes, and put it to use.
# After the manual page nixos-rebuild(8) and nixpkgs pkgs/by-name/ni/nixos-rebuild-ng:
# the order of steps, the profile, and running the switch in a transient unit of its
# own, so that it outlives its caller.
# shellcheck shell=bash
set -u
profile=/nix/var/nix/profiles/system
action='' rollback='' buildFlags=()

usage() {
  echo "usage: nixos-rebuild {switch|boot|test|build|dry-build|dry-activate|list-generations}" >&2
  echo "       [--rollback] [-I PATH] [--option NAME VALUE] [--install-bootloader] [--show-trace]" >&2
  exit 1
}

while [ $# -gt 0 ]; do
  case $1 in
    switch | boot | test | build | dry-build | dry-activate | list-generations) action=$1 ;;
    --rollback) rollback=1 ;;
    --install-bootloader) export NIXOS_INSTALL_BOOTLOADER=1 ;;
    --profile-name | -p)
      [ $# -gt 1 ] || usage
      mkdir -p /nix/var/nix/profiles/system-profiles
      [ "$2" = system ] || profile=/nix/var/nix/profiles/system-profiles/$2
      shift
      ;;
    -I | --max-jobs | -j | --cores | --builders)
      [ $# -gt 1 ] || usage
      buildFlags+=("$1" "$2")
      shift
      ;;
    --option)
      [ $# -gt 2 ] || usage
      buildFlags+=("$1" "$2" "$3")
      shift 2
      ;;
    -I?* | --show-trace | --keep-going | -k | --keep-failed | -K | --verbose | -v | --quiet | -Q | --offline)
      buildFlags+=("$1") ;;
    --fast | --no-build-nix | --no-reexec | --sudo | --use-remote-sudo) ;;
    *)
      echo "nixos-rebuild: unknown option \`$1'" >&2
      usage
      ;;
  esac
  shift
done
[ -n "$action" ] || usage

if [ "$action" = list-generations ]; then
  exec /usr/bin/nix-env -p "$profile" --list-generations
fi

if [ -n "$rollback" ]; then
  case $action in
    switch | boot)
      /usr/bin/nix-env -p "$profile" --rollback || exit
      system=$(readlink -f "$profile")
      ;;
    *)
      current=$(readlink "$profile")
      number=${current##*-link} number=${current%-link} number=${number##*-}
      while [ "$number" -gt 1 ]; do
        number=$((number - 1))
        [ -L "$profile-$number-link" ] && break
      done
      system=$(readlink -f "$profile-$number-link") || exit
      ;;
  esac
else
  echo "building the system configuration..." >&2
  case $action in
    build) buildFlags+=(--out-link result) ;;
    dry-build) buildFlags+=(--no-out-link --dry-run) ;;
    test | dry-activate) buildFlags+=(--no-out-link) ;;
  esac
  case $action in
    switch | boot)
      # Evaluates, builds and sets the profile in one process: starting Nix is not free.
      /usr/bin/nix-env -p "$profile" -f '<nixpkgs/nixos>' --set -A system "${buildFlags[@]}" || exit
      system=$(readlink -f "$profile")
      ;;
    *) system=$(/usr/bin/nix-build '<nixpkgs/nixos>' --attr system "${buildFlags[@]}") || exit ;;
  esac
fi
case $action in
  build | dry-build)
    [ -z "$system" ] || echo "$system"
    exit 0
    ;;
esac

run=()
# Patient: on a busy computer, without KVM, 25 s are not much.
export SYSTEMD_BUS_TIMEOUT=300s
if [ -d /run/systemd/system ] && [ "${NIXOS_SWITCH_USE_DIRTY_ENV:-}" != 1 ]; then
  run=(systemd-run -E "NIXOS_INSTALL_BOOTLOADER=${NIXOS_INSTALL_BOOTLOADER:-}"
    -E "PATH=$PATH" --collect --no-ask-password --pipe --quiet --service-type=exec
    --unit=nixos-rebuild-switch-to-configuration)
fi
"${run[@]}" "$system/bin/switch-to-configuration" "$action"
status=$?
if [ $status -ne 0 ]; then
  echo "warning: error(s) occurred while switching to the new configuration" >&2
fi
exit $status
