#!/usr/bin/env bash
# usage: test.sh test|lint        Runs all checks, goes on after a failure, and says at the end what failed.
set -euo pipefail
: "${PROJECT:?run ./dev test}" "${TOOLS:?run ./dev test}"
# shellcheck source=tests/dev/lib.sh
source "$PROJECT/tests/dev/lib.sh"

WHAT=${1:?usage: test.sh test|lint}
shift
FAILED=()

stage() { # name command…
  local name=$1 began=$SECONDS
  shift
  say "$name"
  if "$@"; then
    say "$name: ok, $((SECONDS - began)) s"
  else
    say "$name: FAILED"
    FAILED+=("$name")
  fi
}

licences() {
  # Without a network: cargo fetch has brought what is looked at.
  twice cargo fetch --locked -q && cargo-deny --offline --locked check licenses bans sources
}

scripts() {
  shellcheck -x "$PROJECT/dev" "$PROJECT/.ci/run" "$PROJECT"/tests/dev/*.sh
}

# The tools come while cargo builds; the output waits so that the two do not mix.
log=$(mktemp)
trap 'rm -f -- "$log"' EXIT
"$PROJECT/tests/dev/setup.sh" test >"$log" 2>&1 &
setup=$!
tools() {
  local status=0
  [ -n "$setup" ] || return 0
  wait "$setup" || status=$?
  setup=
  cat -- "$log" >&2
  return "$status"
}

# Packages first: on a bare machine there may be no C compiler yet.
command -v cc >/dev/null || stage tools tools
stage format cargo fmt --check
stage clippy cargo clippy --locked --all-targets -- -D warnings
if [ "$WHAT" = test ]; then
  stage build cargo test --locked --no-run
fi
[ -z "$setup" ] || stage tools tools
stage licences licences
stage scripts scripts
stage manifests "$PROJECT/tests/dev/manifests.sh" check
if [ "$WHAT" = test ]; then
  stage tests cargo test --locked --no-fail-fast "$@"
fi

if [ ${#FAILED[@]} -gt 0 ]; then
  printf 'FAILED: %s\n' "$(IFS=,; echo "${FAILED[*]}")"
  exit 1
fi
printf 'ok: everything passed in %s s\n' "$SECONDS"
