#!/usr/bin/env bash
# Plans over 30 days of archived binary logs, 2.6 million records, from memory, from a folder, and
# from a real S3 server; prints a table in Markdown. It needs 12 GB of memory and 11 GB of disk, and
# takes about ten minutes, most of which goes into writing the log.
#
# BACKSTAY_TOOLS   folder with bin/minio   [.tools]
set -euo pipefail
cd "$(dirname "$0")/.."
MINIO=${BACKSTAY_TOOLS:-.tools}/bin/minio
PORT=${BENCH_PORT:-19741}
WORK=$(mktemp -d)
stop() {
    if [ -n "${STORE:-}" ]; then kill "$STORE" 2> /dev/null || true; wait "$STORE" 2> /dev/null || true; fi
    rm -rf "$WORK"
}
trap stop EXIT

export AWS_ACCESS_KEY_ID=benchbench AWS_SECRET_ACCESS_KEY=bench-secret-bench AWS_REGION=us-east-1
mkdir -p "$WORK/s3/bench" "$WORK/folder"
MINIO_ROOT_USER=$AWS_ACCESS_KEY_ID MINIO_ROOT_PASSWORD=$AWS_SECRET_ACCESS_KEY \
    "$MINIO" server --quiet --address "127.0.0.1:$PORT" "$WORK/s3" > "$WORK/minio.log" 2>&1 &
STORE=$!
until curl -sf "http://127.0.0.1:$PORT/minio/health/ready" > /dev/null; do sleep 0.2; done
BACKSTAY_BENCH_FOLDER=$WORK/folder BACKSTAY_BENCH_REPO=s3://bench/p \
    BACKSTAY_BENCH_ENDPOINT=http://127.0.0.1:$PORT cargo bench --locked --bench plan | grep '^|'
