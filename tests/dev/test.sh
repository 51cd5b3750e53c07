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

# Everything that is linked is in the bill of materials, and it says the same each time.
materials() {
  local folder listed
  folder=$(mktemp -d)
  "$PROJECT/tests/dev/release.sh" sbom "$folder/one" && "$PROJECT/tests/dev/release.sh" sbom "$folder/two" || return
  cmp -- "$folder/one" "$folder/two" || return
  listed=$(cargo tree --locked --offline --prefix none --format '{p}' -e normal --target "$(rustc -vV | sed -n 's/^host: //p')" |
    sed -n 's/^\([^ ]*\) v\([^ ]*\).*/\1 \2/p' | sort -u)
  python3 - "$folder/one" "$listed" <<'PYTHON'
import json, sys
bill = json.load(open(sys.argv[1]))
have = {(c["name"], c["version"]) for c in bill["components"]} | {("backstay", bill["metadata"]["component"]["version"])}
want = {tuple(line.split()) for line in sys.argv[2].splitlines()}
assert bill["bomFormat"] == "CycloneDX" and len(want) > 200, len(want)
assert all(c.get("licenses") for c in bill["components"]), "a component without a licence"
sys.exit(f"not in the bill of materials: {sorted(want - have)}" if want - have else 0)
PYTHON
  rm -rf -- "$folder"
}

images() { "$PROJECT/tests/dev/image.sh" test "$(target_folder)/debug/backstay"; }

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
stage materials materials
stage scripts scripts
stage manifests "$PROJECT/tests/dev/manifests.sh" check
if [ "$WHAT" = test ]; then
  stage images images
  stage tests cargo test --locked --no-fail-fast "$@"
fi

if [ ${#FAILED[@]} -gt 0 ]; then
  printf 'FAILED: %s\n' "$(IFS=,; echo "${FAILED[*]}")"
  exit 1
fi
printf 'ok: everything passed in %s s\n' "$SECONDS"
