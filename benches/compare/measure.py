"""Builds and asks libvdb and its peers, each in a fresh process, and writes what it saw as lines of JSON.

    measure.py SET... [--peers NAME,...]        SET: FOLDER or gen:DIFFICULTY:ROWS:DIM, then @METRIC if not l2

README.md says what is measured. With --job FILE it is the process of one peer.
"""
import argparse
import fnmatch
import gc
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import time
import traceback
from pathlib import Path

import numpy as np

from peers import DEFAULT, PEERS, Vdb
from report import report

ROOT = Path(__file__).resolve().parents[2]
NEAR = 64           # true neighbours kept a query: k, and room for those that are as near as the k-th
FLOOR = 0.7         # recall below which nothing is timed
ENOUGH = 0.999      # recall at which a sweep ends
LEAST_QPS = 20      # rate below which it ends


def say(text):
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


# Sets: rows and queries as 32-bit floats in .fbin files, and the ids that count as found.

def vectors(path):
    """Opens .fbin, .u8bin, .npy, .fvecs or .bvecs, mapped."""
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r")
    if path.suffix in (".fbin", ".u8bin"):
        shape = tuple(int(x) for x in np.fromfile(path, "<u4", 2))
        return np.memmap(path, "<f4" if path.suffix == ".fbin" else "u1", "r", 8, shape)
    if path.suffix in (".fvecs", ".bvecs"):
        kind = np.dtype("<f4" if path.suffix == ".fvecs" else "u1")
        wide = 4 + int(np.fromfile(path, "<i4", 1)[0]) * kind.itemsize
        return np.memmap(path, "u1", "r").reshape(-1, wide)[:, 4:].view(kind)
    raise SystemExit(f"{path}: not .fbin, .u8bin, .npy, .fvecs or .bvecs")


def store(path, rows, unit):
    """Writes rows as .fbin, scaled to length one for cosine."""
    with open(path, "wb") as file:
        np.array(rows.shape, "<u4").tofile(file)
        for start in range(0, len(rows), 65536):
            block = np.asarray(rows[start:start + 65536], np.float32)
            if unit:
                block = block / np.maximum(np.linalg.norm(block, axis=1, keepdims=True), 1e-30)
            block.tofile(file)


def distances(block, query, metric):
    """From a query to some rows, in 64 bits: what orders them under the metric, rows being of length one under cosine."""
    block, query = block.astype(np.float64), query.astype(np.float64)
    return -(block @ query) if metric == "ip" else ((block - query) ** 2).sum(1)


def nearest(rows, queries, metric):
    """The nearest rows of each query and their distances: candidates by 32-bit products, ranked in 64 bits."""
    near, far_off = np.empty((len(queries), NEAR), np.int64), np.empty((len(queries), NEAR))
    squares = 0 if metric == "ip" else np.einsum("ij,ij->i", rows, rows) / 2
    for i, query in enumerate(queries):
        if i % 32 == 0:
            far = squares - queries[i:i + 32] @ rows.T
        found = np.argpartition(far[i % 32], 2 * NEAR)[:2 * NEAR]
        exact = distances(rows[found], query, metric)
        order = np.argsort(exact)[:NEAR]
        near[i], far_off[i] = found[order], exact[order]
    return near, far_off


def prepare(spec, args):
    """Finds or makes the set, its 32-bit rows and its truth; all of it is kept for the next run."""
    spec, metric = (spec if "@" in spec else f"{spec}@l2").rsplit("@", 1)
    if spec.startswith("gen:"):
        _, difficulty, rows, dim = spec.split(":")
        folder = args.work / "sets" / spec.replace(":", "-")
        if not (folder / "query.fbin").exists():
            say(f"making {spec}")
            folder.mkdir(parents=True, exist_ok=True)
            subprocess.run([args.vdb / "vdb", "gen", folder / "base.fbin", "--rows", rows, "--dim", dim, "--quiet",
                            "--difficulty", difficulty, "--queries", folder / "query.part.fbin"], check=True,
                           stdout=subprocess.DEVNULL)
            (folder / "query.part.fbin").rename(folder / "query.fbin")
    else:
        folder = Path(spec).resolve()
    base, query = (next(iter(sorted(folder.glob(pattern))), None) for pattern in ("base.*", args.query))
    if base is None or query is None or metric not in ("l2", "ip", "cosine"):
        raise SystemExit(f"{folder}: holds no base.* or no {args.query} (see --query), or {metric} is no metric")
    given = vectors(base)[:args.rows]
    tail = (f"-{args.rows}" if args.rows else "") + ("" if query.stem == "query" else f"-{query.stem}")
    kept = args.work / "sets" / f"{folder.name}{tail}@{metric}"
    source = [[str(path), path.stat().st_mtime_ns] for path in (base, query)]
    if not (kept / "source.json").exists() or json.loads((kept / "source.json").read_text()) != [source, args.queries]:
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
    plain = base if base.suffix == ".fbin" and not args.rows else kept / "rows.fbin"
    rows = kept / "unit.fbin" if metric == "cosine" else plain
    if not (kept / "source.json").exists():
        for path in {plain, rows} - {base}:
            store(path, given, path.stem == "unit")
        store(kept / "query.fbin", vectors(query)[:args.queries], metric == "cosine")
        say(f"{kept.name}: comparing each query with all rows")
        ids, distances = nearest(vectors(rows), np.array(vectors(kept / "query.fbin")), metric)
        np.savez(kept / "truth.npz", ids=ids, distances=distances)
        (kept / "source.json").write_text(json.dumps([source, args.queries]))
    return {"set": kept.name, "source": source[0], "metric": metric, "rows": len(given), "dim": given.shape[1],
            "rows_file": str(rows), "plain_file": str(plain), "folder": str(kept)}


# The process of a peer: one build, or one sweep.

def resident(pid="self"):
    """Bytes of anonymous (and shared) and of file memory."""
    with open(f"/proc/{pid}/status") as file:
        kib = dict(line.split(":", 1) for line in file if line.startswith("Rss"))
    anon, shared, of_files = (int(kib.get(name, "0").split()[0]) << 10 for name in ("RssAnon", "RssShmem", "RssFile"))
    return anon + shared, of_files


def pin(cores):
    """Binds all threads, so that what a pool does beside a single query is done on the same core."""
    for thread in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(thread), cores)


def build(job, peer):
    rows, start, clock = vectors(Path(job["rows_file"])), resident()[0], time.perf_counter()
    peer.build(rows, job["metric"], job["index"], job["threads"])
    return {"anon_at_start": start, "seconds": time.perf_counter() - clock}


def recall_by(truth, k, rows, queries, metric):
    """Share of the k nearest that was found. A row as near as the k-th counts, so that ties cost nobody, however many
    copies of a row there are: what truth does not name is measured."""
    kth = truth["distances"][:, k - 1:k]
    limits = kth + np.maximum(np.abs(kth) * 1e-6, 1e-12)
    near = [set(ids[good].tolist()) for ids, good in zip(truth["ids"], truth["distances"] <= limits)]

    def hits(i, ids):
        ids = set(ids.tolist())
        others = sorted(id for id in ids - near[i] if 0 <= id < len(rows))
        return min(k, len(ids & near[i]) + (distances(rows[others], queries[i], metric) <= limits[i]).sum())

    return lambda found: sum(hits(i, ids) for i, ids in enumerate(found)) / (len(near) * k)


def search(job, peer):
    queries, k = np.array(vectors(Path(job["folder"], "query.fbin"))), job["k"]
    rows, truth = vectors(Path(job["rows_file"])), np.load(Path(job["folder"], "truth.npz"))
    recall, rng = recall_by(truth, k, rows, queries, job["metric"]), np.random.default_rng(job["round"])
    before, points = resident(), []
    peer.open(job["index"], job["rows"], job["dim"], job["metric"], job["threads"])
    for group in job["settings"] or peer.settings(job["rows"]):
        last = 0
        for setting in group:
            point = sweep(job, peer, setting, queries, recall, rng)
            points.append(point)
            say(f"  {job['peer']} {setting}: recall {point['recall']:.4f}, {point.get('qps_one', 0):,.0f} QPS")
            enough = point["recall"] >= ENOUGH or point.get("qps_one", 1e9) < LEAST_QPS
            if point["recall"] < last + .001 or enough:
                break
            last = point["recall"]
        if enough and not job["settings"]:
            break
    # The rows that recall was measured by are none of the peer's memory.
    del recall, rows
    after = resident()
    return {"points": points, "anon": after[0] - before[0], "file": after[1] - before[1]}


def sweep(job, peer, setting, queries, recall, rng):
    """Batches on all threads, whose ids give the recall, then one query at a time on one core."""
    k, clock = job["k"], time.perf_counter_ns
    peer.set(**setting)
    peer.threads(job["threads"])
    peer.many(queries[:32], k, job["threads"])
    times, end = [], clock() + job["seconds"] * 1e9
    while not times or clock() < end and len(times) < 7:
        start = clock()
        found = peer.many(queries, k, job["threads"])
        times.append(clock() - start)
        if len(times) == 1:
            point = {"setting": setting, "recall": recall(np.asarray(found).astype(np.int64))}
            if point["recall"] < FLOOR:
                return point
    point["qps_many"] = len(queries) * 1e9 / np.median(times)
    cores = os.sched_getaffinity(0)
    pin({max(cores)})
    peer.threads(1)
    ask, order = peer.one(queries, k), rng.permutation(len(queries)).tolist()
    for i in order[-16:]:
        ask(i)
    spans, end = [], clock() + job["seconds"] * 1e9
    gc.disable()
    for i in order:
        start = clock()
        ask(i)
        now = clock()
        spans.append(now - start)
        if now > end and len(spans) >= 100:
            break
    gc.enable()
    pin(cores)
    p50, p99 = np.percentile(spans, [50, 99]) / 1000
    return point | {"qps_one": 1e9 / np.mean(spans), "p50_us": p50, "p99_us": p99}


def work(path):
    """A job in this process, which then ends at once: pools of some peers wait for ever in their destructors."""
    job = json.loads(path.read_text())
    try:
        peer = PEERS[job["peer"]]
        peer.o["vdb"] = job["vdb"]
        if peer.package:
            peer.lib = importlib.import_module(peer.package)
        result = {"build": build, "search": search}[job["action"]](job, peer)
    except BaseException as error:
        traceback.print_exc()
        result = {"failed": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
    path.with_suffix(".result").write_text(json.dumps(result))
    os._exit(0)


# The process that starts them all.

def process(args, job, command=None):
    """A job, or a command for it, in a process of its own; what went wrong comes back as {"failed": why}."""
    path = args.work / "jobs" / f"{job['set']}-{job['peer']}-{job['action']}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(job))
    result = path.with_suffix(".result")
    result.unlink(missing_ok=True)
    env = os.environ | {f"{name}_NUM_THREADS": str(args.threads) for name in ("OMP", "OPENBLAS", "MKL", "RAYON")}
    code, peak = None, 0
    with open(path.with_suffix(".log"), "w+") as log:
        clock = time.perf_counter()
        child = subprocess.Popen(command or [sys.executable, __file__, "--job", path], env=env, stdout=log, stderr=log)
        while code is None:
            try:
                code = child.wait(0.02)
            except subprocess.TimeoutExpired:
                peak = max(peak, resident(child.pid)[0])
                if time.perf_counter() - clock > args.timeout:
                    child.kill()
        seconds = time.perf_counter() - clock
        log.seek(0)
        said = (log.read().strip().splitlines() or [""])[-1][:200]
    if code:
        return {"failed": f"exit {code} after {seconds:.0f} s: {said}"}
    found = {"seconds": seconds, "anon_at_start": 0} if command else json.loads(result.read_text())
    return found | {"peak": peak - found.get("anon_at_start", 0)}


def built(args, job, peer, version):
    """The figures of the build of an index: those of the one that is there, if the same thing made it."""
    folder, mark = Path(job["index"]), Path(job["index"] + ".json")
    stamp = [version, peer.o, job["rows"], job["source"], args.threads]
    if isinstance(peer, Vdb):
        stamp.append((args.vdb / "vdb").stat().st_mtime_ns)
    if mark.exists() and not args.rebuild and json.loads(mark.read_text())["stamp"] == stamp:
        return json.loads(mark.read_text())
    shutil.rmtree(folder, ignore_errors=True)
    mark.unlink(missing_ok=True)
    folder.mkdir(parents=True)
    # Under cosine libvdb gets the rows as they are.
    source = Path(job["plain_file" if isinstance(peer, Vdb) else "rows_file"])
    command = peer.command(args.vdb, source, job["metric"], folder, args.threads) if isinstance(peer, Vdb) else None
    with open(source, "rb") as file:    # into the page cache, before the clock starts
        while file.read(1 << 24):
            pass
    found = process(args, job | {"action": "build"}, command)
    if "failed" not in found:
        found["disk"] = sum(f.stat().st_blocks * 512 for f in folder.rglob("*") if f.is_file())
        mark.write_text(json.dumps(found | {"stamp": stamp}))
        say(f"{job['peer']}: built in {found['seconds']:.1f} s, {found['peak'] >> 20} MiB at the peak")
    return found


def best(points):
    """Settings that no other beats in recall and in both rates: later rounds repeat these alone."""
    points = [point for point in points if "qps_one" in point]
    beats = lambda a, b: a["recall"] >= b["recall"] and a["qps_one"] > b["qps_one"] and a["qps_many"] > b["qps_many"]
    return [[point["setting"]] for point in points if not any(beats(other, point) for other in points)]


def main():
    if sys.argv[1:2] == ["--job"]:
        work(Path(sys.argv[2]))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("sets", nargs="+", metavar="SET")
    p.add_argument("--peers", default="", help=f"names or patterns, with commas between: {', '.join(PEERS)}")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--seconds", type=float, default=1.0, help="for each setting, batch and single (default 1)")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of builds and batches")
    p.add_argument("--rows", type=int, help="only the first so many rows")
    p.add_argument("--queries", type=int, default=1000, help="at most (default 1000)")
    p.add_argument("--query", default="query.*", help="file of queries in the folder")
    p.add_argument("--k", type=int, default=10, help=f"at most {NEAR // 2}")
    p.add_argument("--rebuild", action="store_true", help="build in every round, not once")
    p.add_argument("--timeout", type=float, default=7200, help="seconds of one process")
    p.add_argument("--vdb", type=Path, default=ROOT / "target/release", help="folder of vdb and libvdb.so")
    p.add_argument("--work", type=Path, default=ROOT / "target/compare")
    args = p.parse_args()
    args.vdb, args.work = args.vdb.resolve(), args.work.resolve()
    patterns = [text for text in args.peers.replace(" ", ",").split(",") if text] or list(DEFAULT)
    names = [name for name in PEERS if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)]
    if not names:
        raise SystemExit(f"no peer is called {args.peers}; there are {', '.join(PEERS)}")
    (args.work / "results").mkdir(parents=True, exist_ok=True)
    for spec in args.sets:
        report(compare(prepare(spec, args), names, args))


def compare(data, names, args):
    """All rounds of one set. What fails once is not tried again."""
    out = args.work / "results" / f"{data['set']}.jsonl"
    out.write_text(json.dumps(data | {"k": args.k, "threads": args.threads}) + "\n")
    failed, settings = set(), {}
    for number in range(args.rounds):
        for name in (name for name in names if name not in failed):
            job = data | {"peer": name, "round": number, "k": args.k, "threads": args.threads, "seconds": args.seconds,
                          "vdb": str(args.vdb), "index": str(args.work / "index" / data["set"] / name),
                          "settings": settings.get(name)}
            peer, record = PEERS[name], {"peer": name, "round": number}
            try:
                record["version"] = peer.version(args.vdb)
                made = built(args, job, peer, record["version"])
                found = made if "failed" in made else process(args, job | {"action": "search"})
                record |= found if "failed" in found else {"build": made, "search": found}
            except importlib.metadata.PackageNotFoundError:
                record["failed"] = "not installed"
            if "failed" in record:
                failed.add(name)
                say(f"{name}: {record['failed']}")
            else:
                settings.setdefault(name, best(found["points"]))
                say(f"{name}: round {number + 1} of {args.rounds}, {len(found['points'])} settings")
            with open(out, "a") as file:
                file.write(json.dumps(record) + "\n")
    return out


if __name__ == "__main__":
    main()
