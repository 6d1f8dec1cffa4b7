#!/bin/sh
# Recall, cost and memory on any sets: one line a set, metric and recall asked for. `make figures` calls it.
#
#   benches/figures.sh [FOLDER...]        each FOLDER holds base.* and query.* as `vdb` reads them
#   ROWS=1000000 DIM=1024 benches/figures.sh        generated sets too, of both difficulties, and for the inner
#                                                   product rows of very different length; 10 GB of disk at this size
#
# Truth is the exact search of the same index, over QUERIES queries (default 500). One thread; build on all.
set -eu
cd "$(dirname "$0")/.."
vdb=target/release/vdb
[ -x "$vdb" ] || cargo build --release
queries=${QUERIES:-500}
work=$(mktemp -d "${TMPDIR:-/tmp}/vdb-figures.XXXXXX")
trap 'rm -rf "$work"' EXIT

# figure NAME BASE QUERIES METRIC
figure() {
    build=$($vdb build "$2" "$work/index" --metric "$4" --replace --quiet --json)
    seconds=$(echo "$build" | sed -n 's/.*"seconds": \([0-9.]*\),.*/\1/p' | head -1)
    $vdb bench "$work/index" --queries "$3" --recall 0.95,0.99 --threads 1 --batch 1 \
        --rounds 3 --quiet >"$work/bench"
    memory=$(sed -n 's/^index: *\(.*\) held:.*/\1/p' "$work/bench")
    awk -v name="$1" -v metric="$4" -v seconds="$seconds" -v memory="$memory" '
        /rows x/ && !size { size = $2 " x " $5 + 0 }
        /^0\.9/ && !seen[$1]++ {
            printf "| %s | %s | %s | %s | %s | %s | %s | %s | %.1f | %s |\n",
                name, size, metric, $1, $2, $8, $(NF - 3), $(NF - 1), seconds, memory
        }' "$work/bench"
}

echo "| set | rows x dim | metric | asked | recall@10 | p50 us | codes | rows compared | build s | memory |"
echo "|---|---|---|---|---|---|---|---|---|---|"
for folder in "$@"; do
    for metric in l2 cosine ip; do
        figure "$(basename "$folder")" "$(echo "$folder"/base.*)" "$(echo "$folder"/query.*)" $metric
    done
done
if [ -n "${ROWS:-}" ]; then
    dim=${DIM:-1024}
    for difficulty in typical hard; do
        $vdb gen "$work/base.fbin" --rows "$ROWS" --dim "$dim" --difficulty $difficulty --quiet \
            --queries "$work/query.fbin" --query-count "$queries" >/dev/null
        for metric in l2 cosine; do
            figure $difficulty "$work/base.fbin" "$work/query.fbin" $metric
        done
        $vdb gen "$work/base.fbin" --rows "$ROWS" --dim "$dim" --difficulty $difficulty --norm-spread 0.5 --quiet \
            --queries "$work/query.fbin" --query-count "$queries" >/dev/null
        figure "$difficulty, norms spread" "$work/base.fbin" "$work/query.fbin" ip
    done
fi
