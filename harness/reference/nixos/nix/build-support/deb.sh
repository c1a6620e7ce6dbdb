# Builder of pool packages: unpack .debs into $out and make their executables and
# libraries run from the store (interpreter and RUNPATH point at store paths).
#
# in: debs ("sha256 file" words), debsDir, interpreter, runpath, keep (globs below the
#     flattened tree, empty for all), finish (commands run at the end, in $out)
# shellcheck shell=sh disable=SC2086,SC2154 # words and variables of the derivation
set -eu
umask 022
export PATH=/usr/sbin:/usr/bin LC_ALL=C.UTF-8

tree=$PWD/tree
mkdir -p "$tree" "$out"
# shellcheck disable=SC2154 # set by the derivation
set -- $debs
while [ $# -gt 0 ]; do
  echo "$1  $debsDir/$2" | sha256sum --check --quiet
  dpkg-deb --fsys-tarfile "$debsDir/$2" | tar -x -C "$tree"
  shift 2
done

move() { # FROM TO: merge a directory of the tree into one of $out
  if [ -d "$tree/$1" ] && [ ! -L "$tree/$1" ]; then
    mkdir -p "$out/$2"
    cp -a "$tree/$1/." "$out/$2/"
    rm -rf "${tree:?}/$1"
  fi
}
# The loader's other name, /lib64/ld-linux-x86-64.so.2, is a link to an absolute path.
rm -rf "$tree/usr/lib64" "${tree:?}/lib64"
for prefix in usr/ ''; do
  move "${prefix}lib/x86_64-linux-gnu" lib
  move "${prefix}lib" lib
  move "${prefix}bin" bin
  move "${prefix}sbin" bin
done
move usr/share share
move boot boot
rm -rf "$out"/share/doc "$out"/share/man "$out"/share/locale "$out"/share/lintian \
  "$out"/share/bash-completion "$out"/share/bug "$out"/share/info

cd "$out"
# shellcheck disable=SC2154
if [ -n "$keep" ]; then
  mkdir "$tree.kept"
  for path in $keep; do
    mkdir -p "$tree.kept/$(dirname "$path")"
    cp -a "$path" "$tree.kept/$path"
  done
  rm -rf "${out:?}"/*
  cp -a "$tree.kept/." "$out/"
fi

# Libraries whose directory moved are named by links that may no longer hold.
find . -xtype l -delete
chmod -R u+w .

# shellcheck disable=SC2154
if [ -n "$runpath" ]; then
  find . -type f \( -perm -u+x -o -name '*.so*' \) | while read -r file; do
    # An ELF file begins with 7f 45 4c 46.
    [ "$(head -c 4 "$file" | od -An -tx1)" = " 7f 45 4c 46" ] || continue
    # One run with --no-sort: patchelf 0.18 breaks programs that are not position
    # independent (python3.13) when it grows them twice or sorts their segments.
    set --
    if patchelf --print-interpreter "$file" >/dev/null 2>&1; then
      set -- --set-interpreter "$interpreter"
    fi
    case $(patchelf --print-needed "$file") in
      *.so*) set -- "$@" --set-rpath "$out/lib:$out/lib/systemd:$runpath" ;;
    esac
    [ $# -gt 0 ] || continue
    patchelf --no-sort "$@" "$file"
    patchelf --no-sort --shrink-rpath "$file"
  done
fi
# shellcheck disable=SC2154
eval "$finish"
find . -type d -empty -delete
