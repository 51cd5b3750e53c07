# What the developer scripts share. Sourced; PROJECT and TOOLS are set by ./dev.
# shellcheck shell=bash

say() { printf '==> %s\n' "$*" >&2; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# Runs a command, and once more when it failed: networks hiccup.
twice() {
  "$@" && return
  say "failed, once more in 5 s: $*"
  sleep 5
  "$@"
}

as_root() {
  if [ "$(id -u)" -eq 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo "$@"
  else
    die "this needs root (no sudo here): $*"
  fi
}

# Prints those of the Debian packages that are not installed.
missing_packages() {
  local name
  for name in "$@"; do
    [[ $INSTALLED == *" $name "* ]] || printf '%s\n' "$name"
  done
}

read_installed_packages() {
  command -v dpkg-query >/dev/null || die 'this needs Debian or a relative of it (no dpkg-query)'
  INSTALLED=" $(dpkg-query -W -f '${db:Status-Abbrev}${Package}\n' | sed -n 's/^ii *//p' | tr '\n' ' ')"
}

target_folder() {
  cargo metadata --no-deps --offline --format-version 1 |
    sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p'
}
