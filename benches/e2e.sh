#!/usr/bin/env bash
# Backs up and restores a MariaDB of about 2.4 GB, in turns with what people do by hand, and
# prints tables in Markdown on standard output; progress goes to standard error.
#
#   benches/e2e.sh [ROUNDS]      5 rounds unless said
#
# BACKSTAY_TOOLS          folder with bin/minio                  [.tools]
# BACKSTAY_BENCH_DIR      the data set, built once and kept      [/tmp/backstay-bench]
# BACKSTAY_BENCH_SCRATCH  repositories, MinIO, restored files    [/dev/shm/backstay-bench]
# BACKSTAY_BIN            the program                            [target/release/backstay]
# BENCH_PARTS             which parts to run                     [file s3 levels]
set -euo pipefail
cd "$(dirname "$0")/.."
. benches/dataset.sh

ROUNDS=${1:-5}
PARTS=" ${BENCH_PARTS:-file s3 levels} "
WORK=${BACKSTAY_BENCH_DIR:-${TMPDIR:-/tmp}/backstay-bench}
SCRATCH=${BACKSTAY_BENCH_SCRATCH:-/dev/shm/backstay-bench}
MINIO=${BACKSTAY_TOOLS:-.tools}/bin/minio
BACKSTAY=${BACKSTAY_BIN:-$PWD/target/release/backstay}
RESULTS=$SCRATCH/results.tsv
LEVELS="-4 -1 1 2 3 5"
BUCKET=bench
PORT=${BENCH_PORT:-19731}

say() { echo "$*" >&2; }

for program in mariadbd mariadb-backup mbstream sysbench zstd age age-keygen rclone "$MINIO" "$BACKSTAY"; do
    command -v "$program" > /dev/null || { say "$program is missing"; exit 1; }
done

stop() {
    server_stop
    if [ -n "${STORE:-}" ]; then kill "$STORE" 2> /dev/null || true; wait "$STORE" 2> /dev/null || true; fi
    rm -rf "$SCRATCH"
}
trap stop EXIT
rm -rf "$SCRATCH"
mkdir -p "$WORK" "$SCRATCH/tmp"
say "the data set: $WORK/data"
(build "$WORK/data" > /dev/null)
server_start "$WORK/data"
SOCKET=$WORK/data/s

# The yardsticks' own key, and ours.
export AWS_ACCESS_KEY_ID=benchbench AWS_SECRET_ACCESS_KEY=bench-secret-bench AWS_REGION=us-east-1
# MinIO is reached without TLS, and rclone stops at a bundle of certificates that it cannot use.
unset AWS_CA_BUNDLE AWS_PROFILE AWS_SESSION_TOKEN
export RCLONE_CONFIG=/dev/null RCLONE_CONFIG_M_TYPE=s3 RCLONE_CONFIG_M_PROVIDER=Minio
export RCLONE_CONFIG_M_ENDPOINT=http://127.0.0.1:$PORT RCLONE_CONFIG_M_ENV_AUTH=true
age-keygen -o "$SCRATCH/age.key" 2> /dev/null
RECIPIENT=$(age-keygen -y "$SCRATCH/age.key")
export BACKSTAY_CLUSTER=bench BACKSTAY_KEK=file:$SCRATCH/kek BACKSTAY_SCRATCH=$SCRATCH/tmp
export BACKSTAY_LOG=warn,backstay::pipeline::level=debug
"$BACKSTAY" keys new > /dev/null

engine() {
    rm -rf "$SCRATCH/tmp/engine"
    mariadb-backup --no-defaults --backup --stream=xbstream --target-dir="$SCRATCH/tmp/engine" \
        --parallel="$(nproc)" --socket="$SOCKET" --user=root 2> "$SCRATCH/engine.log"
}

# record CASE ROUND SECONDS BYTES PEAK_KIB
record() {
    printf '%s\t%s\t%s\t%s\t%s\n' "$@" >> "$RESULTS"
    say "  round $2  $(printf '%-22s %7.2f s' "$1" "$3")  ${4:+$((${4:-0} / 1000000)) MB}"
}

seconds_since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.3f", b - a }'; }

# timed CASE ROUND COMMAND...: the command's own output goes where the caller sends it.
timed() {
    local case=$1 round=$2 begun=$EPOCHREALTIME
    shift 2
    "$@"
    record "$case" "$round" "$(seconds_since "$begun")" "" "" 
}

# watched OUT COMMAND...: runs Backstay; leaves SECONDS_TAKEN and PEAK (KiB, VmHWM of its process).
watched() {
    local out=$1 begun=$EPOCHREALTIME peak
    shift
    "$@" > "$out" 2> "$out.log" &
    local child=$!
    PEAK=0
    while peak=$(sed -n 's/^VmHWM:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$child/status" 2> /dev/null) && [ -n "$peak" ]; do
        PEAK=$peak
        sleep 0.02
    done
    wait "$child" || { say "failed: $*"; cat "$out" "$out.log" >&2; exit 1; }
    SECONDS_TAKEN=$(seconds_since "$begun")
}

# number FILE NAME: a number from a JSON result.
number() { sed -n 's/^.*"'"$2"'": *\([0-9.]*\).*/\1/p' "$1" | head -n 1; }

# backup CASE ROUND REPOSITORY [OPTION...]
backup() {
    local case=$1 round=$2 repository=$3
    shift 3
    watched "$SCRATCH/out.json" "$BACKSTAY" backup --format json --repo "$repository" \
        --mysql-socket "$SOCKET" --mysql-user root "$@"
    BYTES=$(number "$SCRATCH/out.json" bytes_stored)
    record "$case" "$round" "$SECONDS_TAKEN" "$BYTES" "$PEAK"
}

# The level that `auto` ended with.
chosen() { sed -n 's/.*"zstd_level":\(-\{0,1\}[0-9]*\).*/\1/p' "$SCRATCH/out.json.log" | tail -n 1; }

to_null() { engine > /dev/null; }
to_zstd() { engine | zstd -q -T0 "$@" > /dev/null; }
by_hand_up() { engine | zstd -q -3 -T0 | age -r "$RECIPIENT" | rclone rcat "M:$BUCKET/by-hand.zst.age"; }
by_hand_down() {
    rclone cat "M:$BUCKET/by-hand.zst.age" | age -d -i "$SCRATCH/age.key" | zstd -q -d -T0 |
        mbstream -x -C "$SCRATCH/by-hand"
}

# A level as the zstd program spells it, in words.
spelled() { if [ "$1" -lt 0 ]; then echo "--fast=${1#-} --compress-literals"; else echo "-$1"; fi; }

part_file() {
    say "to a folder, against the engine alone"
    backup warm 0 "file://$SCRATCH/repo"
    local level
    level=$(chosen)
    say "auto has chosen level ${level:-1}"
    for round in $(seq "$ROUNDS"); do
        rm -rf "$SCRATCH/repo"
        timed engine "$round" to_null
        # shellcheck disable=SC2046  # words
        timed engine-zstd "$round" to_zstd $(spelled "${level:-1}")
        backup file "$round" "file://$SCRATCH/repo"
    done
    rm -rf "$SCRATCH/repo"
}

part_s3() {
    say "to S3 and back, against a shell pipeline"
    mkdir -p "$SCRATCH/minio"
    MINIO_ROOT_USER=$AWS_ACCESS_KEY_ID MINIO_ROOT_PASSWORD=$AWS_SECRET_ACCESS_KEY \
        "$MINIO" server --quiet --address "127.0.0.1:$PORT" "$SCRATCH/minio" > "$SCRATCH/minio.log" 2>&1 &
    STORE=$!
    local tries=0
    until rclone mkdir --retries 1 --low-level-retries 1 "M:$BUCKET" 2> "$SCRATCH/rclone.log"; do
        tries=$((tries + 1))
        [ "$tries" -lt 50 ] || { tail "$SCRATCH/minio.log" "$SCRATCH/rclone.log" >&2; exit 1; }
        sleep 0.2
    done
    local repository=s3://$BUCKET/repo bytes
    export BACKSTAY_STORE_ENDPOINT=http://127.0.0.1:$PORT
    for round in $(seq "$ROUNDS"); do
        timed by-hand-up "$round" by_hand_up
        bytes=$(rclone size --json "M:$BUCKET/by-hand.zst.age" | sed 's/.*"bytes":\([0-9]*\).*/\1/')
        record by-hand-bytes "$round" 0 "$bytes" ""
        backup s3 "$round" "$repository"
        rm -rf "$SCRATCH/by-hand"
        mkdir "$SCRATCH/by-hand"
        timed by-hand-down "$round" by_hand_down
        rm -rf "$SCRATCH/by-hand"
        watched "$SCRATCH/out.json" "$BACKSTAY" restore --format json --repo "$repository" \
            --datadir "$SCRATCH/restored" --no-start --owner "$(id -un)"
        record restore "$round" "$(number "$SCRATCH/out.json" extract_seconds)" "" "$PEAK"
        rm -rf "$SCRATCH/restored"
        watched "$SCRATCH/out.json" "$BACKSTAY" verify --repo "$repository"
        record verify "$round" "$SECONDS_TAKEN" "" "$PEAK"
        rclone -q purge "M:$BUCKET/repo"
    done
    unset BACKSTAY_STORE_ENDPOINT
}

part_levels() {
    say "compression levels, to a folder"
    for round in $(seq "$ROUNDS"); do
        for level in auto $LEVELS; do
            backup "level$level" "$round" "file://$SCRATCH/repo" --level "$level"
            rm -rf "$SCRATCH/repo"
        done
    done
}

for part in file s3 levels; do
    case $PARTS in *" $part "*) "part_$part" ;; esac
done
cp "$RESULTS" "$WORK/results.tsv"
awk -f benches/report.awk "$RESULTS"
