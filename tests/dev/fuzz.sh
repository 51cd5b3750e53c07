#!/usr/bin/env bash
# usage: fuzz.sh [SECONDS [TARGET…]]
#
# Runs the fuzz targets of fuzz/, 60 seconds each unless said. What they find lies in
# fuzz/artifacts afterwards, and fails the run.
set -euo pipefail
: "${PROJECT:?run ./dev fuzz}" "${TOOLS:?run ./dev fuzz}"
# shellcheck source=tests/dev/lib.sh
source "$PROJECT/tests/dev/lib.sh"

CARGO_FUZZ=0.13.2
SECONDS_EACH=${1:-60}
[ $# -eq 0 ] || shift

command -v rustup >/dev/null || die 'fuzzing needs a nightly compiler, and so rustup'
rustup run nightly rustc --version >/dev/null 2>&1 ||
  twice rustup toolchain install nightly --profile minimal
command -v cargo-fuzz >/dev/null ||
  twice cargo install -q --locked --root "$TOOLS" cargo-fuzz --version "$CARGO_FUZZ"

cd -- "$PROJECT/fuzz"
# The dependencies that everything else is tested with.
cp -- ../Cargo.lock Cargo.lock
mkdir -p corpus
BACKSTAY_FUZZ_CORPUS=$PWD/corpus cargo test -q --locked --manifest-path ../Cargo.toml --test fuzz_smoke
if [ $# -gt 0 ]; then targets=("$@"); else mapfile -t targets < <(cargo fuzz list); fi
failed=()
for target in "${targets[@]}"; do
  say "$target, $SECONDS_EACH s"
  cargo +nightly fuzz run "$target" -- -max_total_time="$SECONDS_EACH" -use_value_profile=1 \
    -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 || failed+=("$target")
done
[ ${#failed[@]} -eq 0 ] || die "found something: ${failed[*]}; see fuzz/artifacts"
say "nothing was found in ${#targets[@]} targets"
