"""A table in markdown and a plot in SVG of each file that measure.py wrote.

    report.py RESULT.jsonl...           tables to standard output; RESULT.md and RESULT.svg beside each file

Rates at a recall lie on the straight line between the logarithms of two measured ones. Nothing is continued
beyond what was measured: `-` is a recall that was not reached, `>` a peer whose fastest setting finds more.
"""
import json
import math
import sys
from pathlib import Path
from statistics import median

RECALLS = (0.9, 0.95, 0.99)
COLOURS = ("#111111", "#d1495b", "#2e86ab", "#3c8d53", "#e08e2b", "#7b4fa3", "#8c6d46", "#4fb3bf", "#c45ab3", "#8a8f98")
RATES = {"qps_one": "one thread, one query at a time", "qps_many": "batches on all threads"}


class Peer:
    """What all rounds say of one peer: medians."""

    def __init__(self, name, records):
        self.name = name
        self.failed = next((r["failed"] for r in records if "failed" in r), None)
        records = [r for r in records if "search" in r]
        self.version = next((r["version"] for r in records), "")
        of = {}
        for record in records:
            for point in record["search"]["points"]:
                of.setdefault(json.dumps(point["setting"]), []).append(point)
        # What was tried in the first round alone is out of the running: one lucky figure is no median.
        often = [points for points in of.values() if len(points) == max(map(len, of.values()))]
        self.points = [{key: median(p[key] for p in points) for key in points[0] if key != "setting"}
                       for points in often]
        middle = lambda part, key: median(r[part][key] for r in records) if records else None
        self.seconds, self.peak, self.disk = (middle("build", key) for key in ("seconds", "peak", "disk"))
        self.anon, self.file = (middle("search", key) for key in ("anon", "file"))
        self.memory = self.anon + self.file if records else None
        # How far rounds lie apart, as a share of the median: the middle of all settings.
        rates = [[p["qps_one"] for p in points if "qps_one" in p] or [1] for points in often]
        self.apart = median((max(rate) - min(rate)) / median(rate) for rate in rates) if rates else 0

    def front(self, rate):
        """Points that no other beats in recall and rate both, by rising recall."""
        found = []
        for point in sorted((p for p in self.points if rate in p), key=lambda p: (-p["recall"], -p[rate])):
            if not found or point[rate] > found[-1][rate]:
                found.append(point)
        return found[::-1]

    def at(self, recall, rate, what=None):
        """(value, mark) at a recall: of the rate, or of another figure of the same points."""
        front, what = self.front(rate), what or rate
        if not front or front[-1]["recall"] < recall:
            return None
        if front[0]["recall"] >= recall:
            return front[0][what], ">" if front[0]["recall"] > recall + 0.005 else ""
        low, high = next((a, b) for a, b in zip(front, front[1:]) if b["recall"] >= recall)
        share = (recall - low["recall"]) / (high["recall"] - low["recall"])
        return math.exp((1 - share) * math.log(low[what]) + share * math.log(high[what])), ""


number = lambda x: f"{x:,.0f}" if x >= 100 else f"{x:.1f}" if x >= 1 else f"{x:.2f}"
cell = lambda found: f"{found[1]}{number(found[0])}" if found else "-"
mib = lambda count: number(max(0, count) / 2**20)


def table(head, lines):
    text = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(text + ["| " + " | ".join(line) + " |" for line in lines])


def measured(peers):
    head = ["peer"] + [f"QPS @{r:g}" for r in RECALLS] + ["p50 / p99 us @0.95"]
    head += [f"batch QPS @{r:g}" for r in RECALLS]
    head += ["best recall", "build s", "build peak MiB", "disk MiB", "memory MiB: own + file"]
    lines = []
    for peer in peers:
        middle, slow = (peer.at(0.95, "qps_one", what) for what in ("p50_us", "p99_us"))
        lines.append([f"{peer.name} {peer.version}"] + [cell(peer.at(r, "qps_one")) for r in RECALLS]
                     + [f"{number(middle[0])} / {number(slow[0])}" if middle else "-"]
                     + [cell(peer.at(r, "qps_many")) for r in RECALLS]
                     + [f"{max(p['recall'] for p in peer.points):.4f}", number(peer.seconds), mib(peer.peak),
                        mib(peer.disk), f"{mib(peer.anon)} + {mib(peer.file)}"])
    return table(head, lines)


def against(ours, peers):
    """libvdb beside the best peer of each column; a ratio above 1 is in favour of libvdb."""
    lines = []
    for rate, words in RATES.items():
        for recall in RECALLS:
            mine = ours.at(recall, rate)
            top, name = max(((found, p.name) for p in peers if (found := p.at(recall, rate))), default=(None, "none"))
            ratio = "-"
            if mine and top:
                mark = "" if mine[1] == top[1] else "at least " if mine[1] else "at most "
                ratio = f"{mark}{mine[0] / top[0]:.2f}"
            lines.append([f"QPS @{recall:g}, {words}", cell(mine), cell(top), name, ratio])
    for what, of, show in (("build, s", "seconds", number), ("peak of the build, MiB", "peak", mib),
                           ("memory of searches, MiB", "memory", mib), ("own memory alone, MiB", "anon", mib)):
        mine, (least, name) = getattr(ours, of), min((getattr(p, of), p.name) for p in peers)
        lines.append([what, show(mine), show(least), name, f"{least / mine:.2f}" if mine > 0 else "-"])
    return table(["", ours.name, "best peer", "which", "ratio"], lines)


def plot(title, peers, path):
    """Two panels, recall against rate. The axis of recall is that of misses: 0.9, 0.99, 0.999 are as far apart."""
    width, height, left, top = 440, 380, 60, 50
    svg = []
    text = lambda x, y, words, how="": svg.append(f'<text x="{x:.1f}" y="{y:.1f}" {how}>{words}</text>')
    line = lambda a, b, c, d: svg.append(f'<path d="M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}" stroke="#ddd"/>')
    x = lambda recall: -math.log10(max(1 - recall, 6e-4) / 0.3) / math.log10(0.3 / 6e-4) * width
    rates = [math.log10(p[r]) for r in RATES for peer in peers for p in peer.front(r) if p["recall"] >= 0.7] or [0]
    low, high = math.floor(min(rates) * 2) / 2, math.ceil(max(rates) * 2) / 2 + 1e-9
    y = lambda rate: top + height - (math.log10(rate) - low) / (high - low) * height
    for panel, (rate, words) in enumerate(RATES.items()):
        start = left + panel * (width + left + 20)
        text(start, top - 12, f"{title}: {words}", 'font-weight="bold"')
        for recall in (0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999):
            line(start + x(recall), top, start + x(recall), top + height)
            text(start + x(recall), top + height + 16, f"{recall:g}", 'text-anchor="middle"')
        for value in (m * 10**e for e in range(0, 8) for m in (1, 2, 5)):
            if low <= math.log10(value) <= high:
                line(start, y(value), start + width, y(value))
                text(start - 6, y(value) + 4, f"{value:,}", 'text-anchor="end"')
        text(start + width / 2, top + height + 34, "recall against queries a second", 'text-anchor="middle"')
        for i, peer in reversed(list(enumerate(peers))):
            at = [(start + x(p["recall"]), y(p[rate])) for p in peer.front(rate) if p["recall"] >= 0.7]
            colour, wide = COLOURS[i % len(COLOURS)], 3 if i == 0 else 1.5
            svg.append(f'<polyline points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in at)}" fill="none" '
                       f'stroke="{colour}" stroke-width="{wide}"/>')
            svg += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="{wide + 1}" fill="{colour}"/>' for a, b in at]
    for i, peer in enumerate(peers):
        start = left + 2 * (width + left) - 10
        svg.append(f'<rect x="{start}" y="{top + 20 * i}" width="14" height="10" fill="{COLOURS[i % len(COLOURS)]}"/>')
        text(start + 20, top + 9 + 20 * i, peer.name)
    path.write_text('<svg xmlns="http:' f'//www.w3.org/2000/svg" width="{start + 140}" height="{top + height + 50}" '
                    'font-family="sans-serif" font-size="12">\n'
                    '<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(svg) + "\n</svg>\n")


def report(path):
    head, *records = map(json.loads, path.read_text().splitlines())
    names = list(dict.fromkeys(r["peer"] for r in records))
    every = [Peer(name, [r for r in records if r["peer"] == name]) for name in names]
    peers = sorted((peer for peer in every if peer.points),
                   key=lambda p: (not p.name.startswith("libvdb"), -(p.at(0.95, "qps_one") or (0,))[0]))
    rounds, apart = 1 + max(r["round"] for r in records), max((peer.apart for peer in peers), default=0)
    text = [f"## {head['set']}",
            f"{head['rows']:,} x {head['dim']:,}, {head['metric']}, recall@{head['k']}; threads of builds and batches: "
            f"{head['threads']}; rounds: {rounds}, {apart:.0%} apart at the peer that varied most."]
    if peers:
        text.append(measured(peers))
        others = [peer for peer in peers if not peer.name.startswith("libvdb")]
        text += [against(peer, others) for peer in peers if peer not in others and others]
        plot(head["set"], peers, path.with_suffix(".svg"))
    text.append("\n".join(f"- {peer.name}: {peer.failed}" for peer in every if peer.failed))
    text = "\n\n".join(text).strip() + "\n"
    path.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        report(Path(name))
