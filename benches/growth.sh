#!/bin/sh
# How time and memory grow with the rows, at equal recall: generates, builds and measures each size, smallest first.
#   benches/growth.sh DIM DIFFICULTY ROWS...       e.g. benches/growth.sh 512 typical 100000 1000000 4000000
# Files lie in target/growth (override: DIR) and leave with the size; 4,000,000 x 512 takes 18 GB while it lasts. Needs
# Python 3 for the table alone.
set -eu
vdb=${VDB:-target/release/vdb}
dir=${DIR:-target/growth}
dim=$1
difficulty=$2
shift 2
mkdir -p "$dir"
echo "| rows | asked | recall@10 | p50 us | p99 us | nodes and codes scanned | codes walked | rows read | descend, scan, walk, rerank us | MiB in memory | build s |"
echo "|---|---|---|---|---|---|---|---|---|---|---|"
for rows in "$@"; do
    "$vdb" gen "$dir/rows.fbin" --rows "$rows" --dim "$dim" --difficulty "$difficulty" \
        --queries "$dir/queries.fbin" --query-count 500 --quiet
    "$vdb" build "$dir/rows.fbin" "$dir/index.vdb" --metric l2 --replace --json --quiet > "$dir/build.json"
    "$vdb" bench "$dir/index.vdb" --queries "$dir/queries.fbin" --k 10 --recall 0.9,0.95,0.98,0.99 --threads 1 \
        --batch 1 --json > "$dir/bench.json"
    python3 - "$rows" "$dir/build.json" "$dir/bench.json" <<'P'
import json, sys

def read(path):
    text = open(path).read()
    return json.loads(text[text.index("{"):])

rows, build, bench = int(sys.argv[1]), read(sys.argv[2]), read(sys.argv[3])
seconds = sum(phase["seconds"] for phase in build["phases"])
memory = bench["memory"]["total_bytes"]
seen = set()
for r in bench["results"]:
    if r["recall_asked"] in seen:
        continue
    seen.add(r["recall_asked"])
    us = r["phases_us"]
    phases = ", ".join("%.0f" % us[name] for name in ("descend", "scan", "walk", "rerank"))
    in_a_row = r["codes_scanned"] - r["codes_walked"] + r.get("nodes_ranked", 0)
    print(f"| {rows:,} | {r['recall_asked']} | {r['recall']:.4f} | {r['p50_us']:.0f} | {r['p99_us']:.0f} | "
          f"{in_a_row:,.0f} | {r['codes_walked']:,.0f} | {r['rows_reranked']:.1f} | {phases} | "
          f"{memory / 2**20:.0f} | {seconds:.0f} |")
P
    rm -rf "$dir/rows.fbin" "$dir/index.vdb"
done
