#!/usr/bin/env bash
# usage: release.sh sbom FILE            the bill of materials of what is linked (CycloneDX 1.5, JSON)
#        release.sh build FOLDER         what a release consists of
#        release.sh reproduce [FOLDER]   builds it twice, in two folders, and compares byte by byte
#        release.sh advisories           known vulnerabilities among the dependencies; needs a network
set -euo pipefail
: "${PROJECT:?run ./dev}" "${TOOLS:?run ./dev}"
# shellcheck source=tests/dev/lib.sh
source "$PROJECT/tests/dev/lib.sh"

TARGET=x86_64-unknown-linux-gnu
[ "$(uname -m)" = x86_64 ] || TARGET=$(uname -m)-unknown-linux-gnu

commit_time() { git -C "$PROJECT" log -1 --format=%ct; }

# The tool writes beside each manifest, so it gets a copy of what it reads: the project stays as it is.
sbom() { # file
  local beside
  beside=$(mktemp -d)
  (cd -- "$PROJECT" && tar -c Cargo.toml Cargo.lock src benches/*.rs) | tar -x -C "$beside"
  # Outside a checkout, with a fixed time and no random serial number: the same sources, the same file.
  (cd -- "$beside" && SOURCE_DATE_EPOCH=$(commit_time) CARGO_NET_OFFLINE=true \
    cargo-cyclonedx cyclonedx --format json --spec-version 1.5 --target "$TARGET" \
    --no-build-deps --override-filename sbom -q)
  # The folder's name is no property of the program.
  sed "s#file://$beside#file://.#g; s#$beside#.#g" "$beside/sbom.json" >"$1"
  rm -rf -- "$beside"
}

# Paths of this machine, and when it was, must not get into the program.
flags() { # source target
  local home=${CARGO_HOME:-$HOME/.cargo}
  printf -- '--remap-path-prefix=%s=/backstay --remap-path-prefix=%s=/target --remap-path-prefix=%s=/cargo' \
    "$1" "$2" "$home"
}

c_flags() { # source target
  local home=${CARGO_HOME:-$HOME/.cargo}
  printf -- '-ffile-prefix-map=%s=/backstay -ffile-prefix-map=%s=/target -ffile-prefix-map=%s=/cargo' \
    "$1" "$2" "$home"
}

compile() { # source target
  (cd -- "$1" &&
    SOURCE_DATE_EPOCH=$(commit_time) CARGO_INCREMENTAL=0 CARGO_TARGET_DIR=$2 \
      CARGO_PROFILE_RELEASE_DEBUG=none CARGO_PROFILE_RELEASE_STRIP=symbols \
      RUSTFLAGS=$(flags "$1" "$2") CFLAGS=$(c_flags "$1" "$2") CXXFLAGS=$(c_flags "$1" "$2") \
      cargo auditable build --release --locked --bin backstay --target "$TARGET")
}

build() { # folder
  mkdir -p -- "$1"
  local out target
  out=$(realpath -- "$1") target=$(target_folder)/reproducible
  compile "$PROJECT" "$target"
  install -m 0755 "$target/$TARGET/release/backstay" "$out/backstay"
  sbom "$out/backstay.cdx.json"
  cp -- "$PROJECT/LICENSE" "$out/"
  (cd -- "$out" && sha256sum backstay backstay.cdx.json LICENSE >SHA256SUMS)
  say "a release lies in $out:"
  cat -- "$out/SHA256SUMS"
}

reproduce() { # [folder]
  local beside one two
  beside=$(mktemp -d -p "${1:-${TMPDIR:-/tmp}}")
  # A source folder of another name and a target folder of another name: what differs is found.
  mkdir -- "$beside/a" "$beside/another-name"
  for copy in a another-name; do
    git -C "$PROJECT" archive HEAD | tar -x -C "$beside/$copy"
    compile "$beside/$copy" "$beside/target-of-$copy"
  done
  one=$(sha256sum <"$beside/target-of-a/$TARGET/release/backstay")
  two=$(sha256sum <"$beside/target-of-another-name/$TARGET/release/backstay")
  rm -rf -- "$beside"
  [ "$one" = "$two" ] || die "two builds of one commit differ: ${one%% *} and ${two%% *}"
  say "two builds, byte for byte: ${one%% *}"
}

case ${1:-} in
  sbom) sbom "${2:?sbom FILE}" ;;
  build) build "${2:?build FOLDER}" ;;
  reproduce) reproduce "${2:-}" ;;
  advisories) (cd -- "$PROJECT" && cargo-deny --locked check advisories) ;;
  *) die 'release.sh sbom FILE, build FOLDER, reproduce [FOLDER] or advisories' ;;
esac
