// Searches, single and in batches. Checks here what C cannot see, the lengths of slices, and leaves the
// rest to it. SearchInto and BatchSearchInto are the only ways to C; the others make slices and call them.

package vdb

/*
#include "bridge.h"

// Neither keeps a pointer, nor calls back into Go: an index that was opened here has no log.
#cgo noescape vdbgo_search
#cgo nocallback vdbgo_search
#cgo noescape vdbgo_batch_search
#cgo nocallback vdbgo_batch_search
*/
import "C"

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"
	"unsafe"
)

// Hit is a row that was found, with its distance: exact, and smaller is closer.
type Hit struct {
	ID       uint64
	Distance float32
}

// Filter says which rows a search may return. The zero value, or nil, admits every row.
type Filter struct {
	kind    C.vdb_filter_kind_t
	exclude bool
	values  []uint64
	firstID uint64
}

// Only admits the rows with these ids, which must ascend. The slice is not copied.
func Only(ids []uint64) *Filter { return &Filter{kind: C.VDB_FILTER_IDS, values: ids} }

// Except admits all rows but those with these ids, which must ascend. The slice is not copied.
func Except(ids []uint64) *Filter { return &Filter{kind: C.VDB_FILTER_IDS, exclude: true, values: ids} }

// OnlyBits admits the rows whose bit is set: bit i%64 of word i/64 is for id firstID + i. The slice is not
// copied.
func OnlyBits(words []uint64, firstID uint64) *Filter {
	return &Filter{kind: C.VDB_FILTER_BITMAP, values: words, firstID: firstID}
}

// ExceptBits admits all rows but those whose bit is set. The slice is not copied.
func ExceptBits(words []uint64, firstID uint64) *Filter {
	return &Filter{kind: C.VDB_FILTER_BITMAP, exclude: true, values: words, firstID: firstID}
}

// RerankAll is the Rerank that computes the exact distance of every row visited.
const RerankAll = math.MaxUint32

// SearchOptions say how to search. All but K may be left zero: recall 0.95, all else chosen.
type SearchOptions struct {
	K           int          // how many rows; 1 or more
	Recall      float32      // wanted recall@10; 0: 0.95
	Probes      uint32       // leaves to visit; 0: from Recall
	Rerank      uint32       // most exact distances; 0: as many as it takes; RerankAll
	Threads     uint32       // 0: the caller's, or of the DB's where that pays; 1: the caller's alone
	Exact       bool         // every row by its exact distance
	NoCache     bool         // neither read nor fill the caches
	MaxDistance *float32     // no row farther than this; nil: any
	Filter      *Filter      // nil: every row
	Stats       *SearchStats // filled, if it is not nil
}

// SearchStats is what a search, or a batch of them, did.
type SearchStats struct {
	Generation      uint64 // of the index that answered
	Quantise        time.Duration
	Descend         time.Duration
	Scan            time.Duration
	Walk            time.Duration
	Read            time.Duration
	Rerank          time.Duration
	Merge           time.Duration
	NodesRanked     uint64
	LeavesScanned   uint64
	CodesScanned    uint64
	CodesWalked     uint64 // of these, those that links led to
	RowsReranked    uint64
	RowsRead        uint64
	BytesRead       uint64
	Probes          uint32
	AnswerCacheHits uint32
}

// Search finds the opts.K rows nearest to query, closest first; equal distances by id.
func (db *DB) Search(ctx context.Context, query []float32, opts SearchOptions) ([]Hit, error) {
	room, err := db.room(opts.K)
	if err != nil {
		return nil, err
	}
	slots := slotsPool.Get().(*slots)
	defer slotsPool.Put(slots)
	slots.grow(room)
	count, err := db.SearchInto(ctx, query, opts, slots.ids, slots.distances)
	if err != nil {
		return nil, err
	}
	return slots.hits(0, count), nil
}

// SearchInto is Search into the caller's slices, without an allocation as long as ctx cannot be done.
// len(ids) is how many rows are wanted, opts.K is not looked at; distances is as long, or nil. It returns
// how many were found.
func (db *DB) SearchInto(ctx context.Context, query []float32, opts SearchOptions, ids []uint64,
	distances []float32) (int, error) {
	if distances != nil && len(distances) != len(ids) {
		return 0, invalid("distances must be as long as ids, or nil")
	}
	if err := done(ctx); err != nil {
		return 0, err
	}
	if err := db.acquire(); err != nil {
		return 0, err
	}
	defer db.release()
	var token *int32
	if ctx.Done() != nil {
		token = new(int32)
		defer watch(ctx, token)()
	}
	search := opts.toC(timeoutNS(ctx))
	var count C.size_t
	var stats C.vdb_search_stats_t
	var cerr *C.vdb_error_t
	status := C.vdbgo_search(db.handle, floats(query), C.size_t(len(query)), C.size_t(len(ids)), &search,
		opts.filterValues(), (*C.vdb_cancel_t)(token), &stats, words(ids), floats(distances), &count, &cerr)
	if status != C.VDB_OK {
		return 0, stopped(ctx, status, cerr)
	}
	opts.putStats(&stats)
	return int(count), nil
}

// BatchSearch answers many queries at once, with exactly the answers of Search. One bad query fails them
// all, and the error's Row names it.
func (db *DB) BatchSearch(ctx context.Context, queries [][]float32, opts SearchOptions) ([][]Hit, error) {
	room, err := db.room(opts.K)
	if err != nil {
		return nil, err
	}
	flat, err := flatten(queries, db.dim)
	if err != nil {
		return nil, err
	}
	if room > math.MaxInt/max(1, len(queries)) {
		return nil, invalid("%d queries with K = %d do not fit memory; ask for fewer", len(queries), opts.K)
	}
	slots := slotsPool.Get().(*slots)
	defer slotsPool.Put(slots)
	slots.grow(room * len(queries))
	counts := make([]int, len(queries))
	opts.K = room
	if err := db.BatchSearchInto(ctx, flat, opts, slots.ids, slots.distances, counts); err != nil {
		return nil, err
	}
	answers := make([][]Hit, len(queries))
	for i, count := range counts {
		answers[i] = slots.hits(i*room, count)
	}
	return answers, nil
}

// BatchSearchInto is BatchSearch into the caller's slices. The queries lie one after the other; ids has
// room for opts.K of each, distances is as long, or nil, and counts has a place for each query, or is nil.
func (db *DB) BatchSearchInto(ctx context.Context, queries []float32, opts SearchOptions, ids []uint64,
	distances []float32, counts []int) error {
	queryCount := len(queries) / max(1, db.dim)
	switch {
	case queryCount*db.dim != len(queries):
		return invalid("queries hold %d floats, not %d for each query", len(queries), db.dim)
	case opts.K < 1:
		return invalid("K is %d; ask for 1 row or more", opts.K)
	case len(ids)/opts.K != queryCount || len(ids)%opts.K != 0:
		return invalid("ids have room for %d, not for K = %d of each query", len(ids), opts.K)
	case distances != nil && len(distances) != len(ids):
		return invalid("distances must be as long as ids, or nil")
	case counts != nil && len(counts) != queryCount:
		return invalid("counts must have a place for each query, or be nil")
	}
	if err := done(ctx); err != nil {
		return err
	}
	if err := db.acquire(); err != nil {
		return err
	}
	defer db.release()
	var token *int32
	if ctx.Done() != nil {
		token = new(int32)
		defer watch(ctx, token)()
	}
	search := opts.toC(timeoutNS(ctx))
	var stats C.vdb_search_stats_t
	var cerr *C.vdb_error_t
	// A size_t is as wide as an int, and a count never above what an int holds.
	ccounts := (*C.size_t)(unsafe.Pointer(unsafe.SliceData(counts)))
	status := C.vdbgo_batch_search(db.handle, floats(queries), C.size_t(queryCount), C.size_t(db.dim),
		C.size_t(opts.K), &search, opts.filterValues(), (*C.vdb_cancel_t)(token), &stats, words(ids),
		floats(distances), ccounts, &cerr)
	if status != C.VDB_OK {
		return stopped(ctx, status, cerr)
	}
	opts.putStats(&stats)
	return nil
}

// room is how many slots an answer of k rows needs: there are no more answers than rows.
func (db *DB) room(k int) (int, error) {
	if k < 1 {
		return 0, invalid("K is %d; ask for 1 row or more", k)
	}
	return int(min(uint64(k), max(1, db.rows))), nil
}

// toC has the options in the terms of C, but for what they point to.
func (o *SearchOptions) toC(timeoutNS uint64) C.vdbgo_search_t {
	var search C.vdbgo_search_t
	params := &search.params
	params.recall = C.float(o.Recall)
	params.probes = C.uint32_t(o.Probes)
	params.rerank = C.uint32_t(o.Rerank)
	params.threads = C.uint32_t(o.Threads)
	params.timeout_ns = C.uint64_t(timeoutNS)
	if o.Exact {
		params.flags |= C.VDB_SEARCH_EXACT
	}
	if o.NoCache {
		params.flags |= C.VDB_SEARCH_NO_CACHE
	}
	if o.MaxDistance != nil {
		params.flags |= C.VDB_SEARCH_MAX_DISTANCE
		params.max_distance = C.float(*o.MaxDistance)
	}
	if o.Filter != nil {
		search.filter.kind = o.Filter.kind
		if o.Filter.exclude {
			search.filter.exclude = 1
		}
		search.filter.value_count = C.size_t(len(o.Filter.values))
		search.filter.first_id = C.uint64_t(o.Filter.firstID)
	}
	return search
}

func (o *SearchOptions) filterValues() *C.uint64_t {
	if o.Filter == nil {
		return nil
	}
	return words(o.Filter.values)
}

func (o *SearchOptions) putStats(stats *C.vdb_search_stats_t) {
	if o.Stats == nil {
		return
	}
	*o.Stats = SearchStats{
		Generation:      uint64(stats.generation),
		Quantise:        time.Duration(stats.quantise_ns),
		Descend:         time.Duration(stats.descend_ns),
		Scan:            time.Duration(stats.scan_ns),
		Walk:            time.Duration(stats.walk_ns),
		Read:            time.Duration(stats.read_ns),
		Rerank:          time.Duration(stats.rerank_ns),
		Merge:           time.Duration(stats.merge_ns),
		NodesRanked:     uint64(stats.nodes_ranked),
		LeavesScanned:   uint64(stats.leaves_scanned),
		CodesScanned:    uint64(stats.codes_scanned),
		CodesWalked:     uint64(stats.codes_walked),
		RowsReranked:    uint64(stats.rows_reranked),
		RowsRead:        uint64(stats.rows_read),
		BytesRead:       uint64(stats.bytes_read),
		Probes:          uint32(stats.probes),
		AnswerCacheHits: uint32(stats.answer_cache_hits),
	}
}

// slots is where C puts answers before they become hits.
type slots struct {
	ids       []uint64
	distances []float32
}

var slotsPool = sync.Pool{New: func() any { return new(slots) }}

func (s *slots) grow(size int) {
	if cap(s.ids) < size {
		s.ids, s.distances = make([]uint64, size), make([]float32, size)
	}
	s.ids, s.distances = s.ids[:size], s.distances[:size]
}

func (s *slots) hits(first, count int) []Hit {
	hits := make([]Hit, count)
	for i := range hits {
		hits[i] = Hit{s.ids[first+i], s.distances[first+i]}
	}
	return hits
}

// flatten copies rows of dim floats behind each other.
func flatten(rows [][]float32, dim int) ([]float32, error) {
	flat := make([]float32, 0, len(rows)*dim)
	for i, row := range rows {
		if len(row) != dim {
			return nil, &Error{Status: ErrInvalidArgument, Row: int64(i), Message: fmt.Sprintf(
				"row %d has %d elements, but should have %d", i, len(row), dim)}
		}
		flat = append(flat, row...)
	}
	return flat, nil
}

// floats and words are slices in the terms of C, NULL if they are empty.

func floats(slice []float32) *C.float {
	if len(slice) == 0 {
		return nil
	}
	return (*C.float)(unsafe.SliceData(slice))
}

func words(slice []uint64) *C.uint64_t {
	if len(slice) == 0 {
		return nil
	}
	return (*C.uint64_t)(unsafe.SliceData(slice))
}
