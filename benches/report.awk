# Makes the tables of docs/performance.md from lines of case, round, seconds, bytes, peak KiB.
BEGIN { FS = "\t" }
{
    seconds[$1, $2] = $3; seen[$1] = 1; if ($2 > rounds) rounds = $2
    if ($4 != "") bytes[$1, $2] = $4
    if ($5 > peak[$1]) peak[$1] = $5
}
function sort(n,    i, j, t) {
    for (i = 2; i <= n; i++) { t = v[i]; for (j = i - 1; j > 0 && v[j] > t; j--) v[j + 1] = v[j]; v[j + 1] = t }
}
function middle(n) { sort(n); return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2 }
function load(what, name,    r, n) {
    n = 0
    for (r = 1; r <= rounds; r++) {
        if (what == "bytes" && (name, r) in bytes) v[++n] = bytes[name, r]
        if (what == "seconds" && (name, r) in seconds) v[++n] = seconds[name, r]
    }
    return n
}
function time(name,    n, m) { n = load("seconds", name); m = middle(n); return sprintf("%.2f s (%.2f–%.2f)", m, v[1], v[n]) }
function size(name) { return middle(load("bytes", name)) / 1e6 }
# The median over the rounds of a's seconds by b's; with c, by the slower of b and c.
function ratio(a, b, c,    r, d, n) {
    n = 0
    for (r = 1; r <= rounds; r++) {
        d = seconds[b, r]
        if (c != "" && seconds[c, r] > d) d = seconds[c, r]
        if (d > 0) v[++n] = seconds[a, r] / d
    }
    return middle(n)
}
function mib(name) { return sprintf("%.0f MiB", peak[name] / 1024) }
function row(what, own, other, against, figure, reach, good) {
    printf "| %s | %s | %s, %s | %s | %s | %s |\n", what, own, other, against, figure, reach, good ? "yes" : "**no**"
}
function verdict(name, what) { row(what, mib(name), "–", "–", mib(name), "≤ 256 MiB", peak[name] <= 256 * 1024) }
END {
    if (seen["file"] || seen["s3"]) {
        print "| what | Backstay | against | ratio | to reach | reached |"
        print "|---|---|---|---|---|---|"
    }
    if (seen["file"]) {
        x = ratio("file", "engine", "engine-zstd")
        row("backup to a folder", time("file"), "the slower of the engine alone " time("engine"), "and engine \\| zstd -T0 " time("engine-zstd"), sprintf("%.2f times the time", x), "≤ 1.15", x <= 1.15)
    }
    if (seen["s3"]) {
        x = 1 / ratio("s3", "by-hand-up")
        row("backup to S3", time("s3"), "engine \\| zstd -3 -T0 \\| age \\| rclone rcat", time("by-hand-up"), sprintf("%.2f times as fast", x), "≥ 2.5", x >= 2.5)
        x = size("s3"); y = size("by-hand-bytes")
        row("bytes stored", sprintf("%.0f MB", x), "the same", sprintf("%.0f MB", y), sprintf("%.3f", x / y), "≤ 1", x <= y)
        x = 1 / ratio("restore", "by-hand-down")
        row("restore from S3: fetch, open, extract", time("restore"), "rclone cat \\| age -d \\| zstd -d \\| mbstream -x", time("by-hand-down"), sprintf("%.2f times as fast", x), "≥ 2.5", x >= 2.5)
        printf "| verify from S3, every chunk | %s | | | | |\n", time("verify")
        verdict("s3", "peak memory, backup"); verdict("restore", "peak memory, restore")
    } else if (seen["file"]) verdict("file", "peak memory, backup")
    if (seen["levelauto"]) {
        print "\n| level | backup to a folder | time against auto | stored | bytes against auto |"
        print "|---|---|---|---|---|"
        n = split("auto -4 -1 1 2 3 5", levels, " ")
        for (i = 1; i <= n; i++) {
            name = "level" levels[i]
            if (seen[name]) printf "| %s | %s | %.2f | %.0f MB | %.3f |\n", levels[i], time(name), ratio(name, "levelauto"), size(name), size(name) / size("levelauto")
        }
    }
    printf "\nMedians of %d rounds in turns, with the quickest and the slowest; a ratio is the median of the ratios within the rounds.\n", rounds
}
