"""The peers: how each is built, opened, set and asked. A class a library; PEERS has a line a configuration.

Rows are 32-bit floats in a mapped file. Under cosine the peers get rows of length one: squared L2 and inner
product then rank alike, and each takes what it does best.
"""
import ctypes
import importlib.metadata
import os
import subprocess

import numpy as np


def probes(lists):
    """How many of so many lists to visit, half as many again each time, up to all."""
    return sorted({min(lists, int(1.5**i)) for i in range(40)})


def blocks(rows, step=65536):
    """Rows in pieces, so that no peer is charged with a copy of all that it did not ask for."""
    return ((start, np.ascontiguousarray(rows[start:start + step])) for start in range(0, len(rows), step))


class Peer:
    """What most have alike. Each also has

    build(rows, metric, folder, threads), open(folder, rows, dim, metric, threads) and set(**setting);
    many(queries, k, threads): the ids of all;
    one(queries, k): a function of i that finds the ids of query i, with all done beforehand that can be.
    """
    package = ""            # what Python imports, as self.lib
    distribution = ""       # what pip installs

    def __init__(self, **options):
        self.o = options

    def version(self, vdb):
        return importlib.metadata.version(self.distribution)

    def settings(self, rows):
        """From fast to accurate, nearly to a recall of 1; of a group, the rest is left out once it gains nothing."""
        return [[{"ef": ef}] for ef in (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)]

    def threads(self, count):
        """For peers that take the number of threads apart from the call."""


class Params(ctypes.Structure):
    """vdb_search_params_t of include/vdb.h, as far as it is used; it says its size itself."""
    _fields_ = [("struct_size", ctypes.c_size_t), ("recall", ctypes.c_float), ("probes", ctypes.c_uint32),
                ("rerank", ctypes.c_uint32), ("threads", ctypes.c_uint32), ("flags", ctypes.c_uint32),
                ("gap", ctypes.c_uint32), ("timeout_ns", ctypes.c_uint64)]


class Vdb(Peer):
    """libvdb by its C interface. The command builds it, in a process of its own."""

    def version(self, vdb):
        return subprocess.run([vdb / "vdb", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]

    def command(self, vdb, vectors, metric, folder, threads):
        return [vdb / "vdb", "build", vectors, f"{folder}/index", "--metric", metric, "--memory", "1G",
                "--threads", str(threads), "--quiet", *self.o.get("extra", [])]

    def open(self, folder, rows, dim, metric, threads):
        self.lib, self.dim = ctypes.CDLL(f"{self.o['vdb']}/libvdb.so"), ctypes.c_size_t(dim)
        self.lib.vdb_error_message.restype = ctypes.c_char_p
        self.db, self.error = ctypes.c_void_p(), ctypes.c_void_p()
        path = os.fsencode(f"{folder}/index")
        self.check(self.lib.vdb_open(path, None, ctypes.byref(self.db), ctypes.byref(self.error)))

    def check(self, status):
        if status:
            raise RuntimeError(self.lib.vdb_error_message(self.error).decode())

    def settings(self, rows):
        return [[{"recall": r}] for r in (.6, .7, .8, .85, .9, .93, .95, .97, .98, .99, .995, .999)]

    def set(self, recall):
        # VDB_SEARCH_NO_CACHE: the same queries come round again, and an answer remembered is no search.
        self.params = Params(struct_size=ctypes.sizeof(Params), recall=recall, flags=1 << 1)

    def threads(self, count):
        self.params.threads = count

    def one(self, queries, k):
        ids, distances = np.empty((len(queries), k), np.int64), np.empty(k, np.float32)
        self.kept = queries, distances
        at, into = ([ctypes.c_void_p(row.ctypes.data) for row in rows] for rows in (queries, ids))
        call, db, dim, count = self.lib.vdb_search, self.db, self.dim, ctypes.c_size_t(k)
        params, out = ctypes.byref(self.params), ctypes.c_void_p(distances.ctypes.data)

        def ask(i):
            if call(db, at[i], dim, count, params, into[i], out, None, None):
                raise RuntimeError("vdb_search failed")
            return ids[i]
        return ask

    def many(self, queries, k, threads):
        # An id that no row has, 2^64 - 1, reads as -1.
        ids, distances = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
        at, into, out = (ctypes.c_void_p(array.ctypes.data) for array in (queries, ids, distances))
        self.check(self.lib.vdb_batch_search(self.db, at, ctypes.c_size_t(len(queries)), self.dim, ctypes.c_size_t(k),
                                             ctypes.byref(self.params), into, out, None, ctypes.byref(self.error)))
        return ids


class Symphony(Peer):
    """SymphonyQG: a graph whose rows carry the 1-bit codes of their neighbours."""
    package = distribution = "rabitqlib"

    def build(self, rows, metric, folder, threads):
        index = self.lib.SymqgIndex(rows.shape[1], self.o["degree"], metric="ip" if metric == "ip" else "l2")
        index.build(rows, 200, num_threads=threads)
        index.save(f"{folder}/index")

    def open(self, folder, rows, dim, metric, threads):
        self.index = self.lib.SymqgIndex.load(f"{folder}/index")

    def set(self, ef):
        self.ef = ef

    def one(self, queries, k):
        each, call, ef = np.split(queries, len(queries)), self.index.search, self.ef
        return lambda i: call(each[i], k, ef, 1)[0][0]

    def many(self, queries, k, threads):
        return self.index.search_batch(queries, k, self.ef, threads)[0]


class Faiss(Peer):
    package, distribution = "faiss", "faiss-cpu"

    def build(self, rows, metric, folder, threads):
        self.lib.omp_set_num_threads(threads)
        index = self.make(rows, self.lib.METRIC_INNER_PRODUCT if metric == "ip" else self.lib.METRIC_L2)
        for _, block in blocks(rows):
            index.add(block)
        self.lib.write_index(index, f"{folder}/index")

    def open(self, folder, rows, dim, metric, threads):
        self.index = self.lib.read_index(f"{folder}/index")

    def threads(self, count):
        self.lib.omp_set_num_threads(count)

    def one(self, queries, k):
        # The call underneath search(), which would check and allocate anew for each query.
        pointer = self.lib.swig_ptr
        ids, distances = np.empty((len(queries), k), np.int64), np.empty((1, k), np.float32)
        self.kept = queries, distances
        at, into = ([pointer(row) for row in rows] for rows in (queries, ids))
        call, out, params = self.index.search_c, pointer(distances), self.params

        def ask(i):
            call(1, at[i], k, out, into[i], params)
            return ids[i]
        return ask

    def many(self, queries, k, threads):
        return self.index.search(queries, k, params=self.params)[1]


class FaissHnsw(Faiss):
    def make(self, rows, metric):
        index = self.lib.IndexHNSWFlat(rows.shape[1], self.o["m"], metric)
        index.hnsw.efConstruction = 200
        return index

    def set(self, ef):
        self.params = self.lib.SearchParametersHNSW(efSearch=ef)


class FaissIvf(Faiss):
    """Inverted lists, which an HNSW graph over their centroids picks."""
    lists = staticmethod(lambda rows: max(16, 1 << round(np.log2(4 * np.sqrt(rows)))))

    def make(self, rows, metric):
        count, dim = rows.shape
        lists = self.lists(count)
        pieces = next(m for m in range(max(1, dim // 2), 0, -1) if dim % m == 0)
        index = self.lib.index_factory(dim, self.o["spec"].format(ivf=f"IVF{lists}_HNSW32", pq=pieces), metric)
        self.lib.extract_index_ivf(index).cp.max_points_per_centroid = 64
        sample = np.random.default_rng(5).choice(count, min(count, max(64 * lists, 65536)), replace=False)
        index.train(np.ascontiguousarray(rows[np.sort(sample)]))
        return index

    def settings(self, rows):
        refine = (4, 8, 16, 32, 64) if "RFlat" in self.o["spec"] else (0,)
        return [[{"nprobe": p, "refine": r} for r in refine] for p in probes(self.lists(rows))]

    def set(self, nprobe, refine):
        coarse = self.lib.SearchParametersHNSW(efSearch=max(16, nprobe * 3 // 2))
        self.params = self.lib.SearchParametersIVF(nprobe=nprobe, quantizer_params=coarse)
        if refine:
            self.params = self.lib.IndexRefineSearchParameters(k_factor=refine, base_index_params=self.params)


class Hnswlib(Peer):
    package = distribution = "hnswlib"

    def build(self, rows, metric, folder, threads):
        index = self.lib.Index(space="ip" if metric == "ip" else "l2", dim=rows.shape[1])
        index.init_index(max_elements=len(rows), M=self.o["m"], ef_construction=200)
        for start, block in blocks(rows):
            index.add_items(block, np.arange(start, start + len(block)), num_threads=threads)
        index.save_index(f"{folder}/index")

    def open(self, folder, rows, dim, metric, threads):
        self.index = self.lib.Index(space="ip" if metric == "ip" else "l2", dim=dim)
        self.index.load_index(f"{folder}/index", max_elements=rows)

    def set(self, ef):
        self.index.set_ef(ef)

    def one(self, queries, k):
        each, call = np.split(queries, len(queries)), self.index.knn_query
        return lambda i: call(each[i], k=k, num_threads=1)[0][0]

    def many(self, queries, k, threads):
        return self.index.knn_query(queries, k=k, num_threads=threads)[0]


class Usearch(Peer):
    package, distribution = "usearch.index", "usearch"

    def build(self, rows, metric, folder, threads):
        index = self.lib.Index(ndim=rows.shape[1], metric="ip" if metric == "ip" else "l2sq", dtype=self.o["dtype"],
                      connectivity=16, expansion_add=128)
        for start, block in blocks(rows):
            index.add(np.arange(start, start + len(block), dtype=np.uint64), block, threads=threads)
        index.save(f"{folder}/index")

    def open(self, folder, rows, dim, metric, threads):
        self.index = self.lib.Index.restore(f"{folder}/index")

    def set(self, ef):
        self.index.expansion_search = ef

    def one(self, queries, k):
        # The compiled call underneath Index.search().
        each, call = np.split(queries, len(queries)), self.index._compiled.search_many
        return lambda i: call(each[i], k, threads=1)[0][0]

    def many(self, queries, k, threads):
        return self.index.search(queries, k, threads=threads).keys


class Scann(Peer):
    """A tree over 4-bit codes, reordered exactly. The anisotropic loss is for inner products alone."""
    package = distribution = "scann"
    leaves = staticmethod(lambda rows: max(16, int(2 * np.sqrt(rows))))

    def build(self, rows, metric, folder, threads):
        inner = metric != "l2"
        builder = self.lib.scann_ops_pybind.builder(rows, 10, "dot_product" if inner else "squared_l2")
        builder.set_n_training_threads(threads)
        builder = builder.tree(num_leaves=self.leaves(len(rows)), num_leaves_to_search=50,
                               training_sample_size=min(len(rows), 250_000), spherical=metric == "cosine")
        builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2 if inner else float("nan"))
        builder.reorder(100).build().serialize(str(folder))

    def open(self, folder, rows, dim, metric, threads):
        self.index = self.lib.scann_ops_pybind.load_searcher(str(folder))
        self.index.set_num_threads(threads)

    def settings(self, rows):
        counts = probes(self.leaves(rows))
        return [[{"leaves": p, "reorder": r} for r in (20, 40, 80, 160, 320, 640, 1280)] for p in counts]

    def set(self, leaves, reorder):
        self.at = reorder, leaves

    def one(self, queries, k):
        call, (reorder, leaves) = self.index.search, self.at
        return lambda i: call(queries[i], k, reorder, leaves)[0]

    def many(self, queries, k, threads):
        return self.index.search_batched_parallel(queries, k, *self.at)[0]


class Svs(Peer):
    """A Vamana graph over floats. The codes that it also has, LVQ and LeanVec, run on Intel's processors alone."""
    package, distribution = "svs", "scalable-vs"

    def build(self, rows, metric, folder, threads):
        kinds = self.lib.DistanceType
        alpha, distance = (0.95, kinds.MIP) if metric == "ip" else (1.2, kinds.L2)
        how = self.lib.VamanaBuildParameters(alpha=alpha, graph_max_degree=64, window_size=128)
        index = self.lib.Vamana.build(how, np.ascontiguousarray(rows), distance, num_threads=threads)
        index.save(f"{folder}/config", f"{folder}/graph", f"{folder}/data")

    def open(self, folder, rows, dim, metric, threads):
        kinds, graph = self.lib.DistanceType, self.lib.GraphLoader(f"{folder}/graph")
        data = self.lib.VectorDataLoader(f"{folder}/data", self.lib.DataType.float32, dims=dim)
        self.index = self.lib.Vamana(f"{folder}/config", graph, data, kinds.MIP if metric == "ip" else kinds.L2,
                                     num_threads=threads)

    def set(self, ef):
        self.index.search_window_size = ef

    def threads(self, count):
        self.index.num_threads = count

    def one(self, queries, k):
        call = self.index.search
        return lambda i: call(queries[i], k)[0].ravel()

    def many(self, queries, k, threads):
        return self.index.search(queries, k)[0]


DEFAULT = {
    "libvdb": Vdb(),
    "symphonyqg": Symphony(degree=32),
    "faiss-ivfpq": FaissIvf(spec="{ivf},PQ{pq}x4fs,RFlat"),
    "faiss-hnsw": FaissHnsw(m=32),
    "hnswlib": Hnswlib(m=16),
    "usearch-f16": Usearch(dtype="f16"),
    "scann": Scann(),
    "svs": Svs(),
}
# These too, where they are named.
PEERS = DEFAULT | {
    "libvdb-no-links": Vdb(extra=["--links", "off"]),
    "faiss-ivfflat": FaissIvf(spec="{ivf},Flat"),
    "hnswlib-m32": Hnswlib(m=32),
    "usearch-f32": Usearch(dtype="f32"),
}
