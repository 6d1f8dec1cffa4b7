// What an open index is, takes and holds.

package vdb

/*
#include "vdb.h"
*/
import "C"

import (
	"time"
	"unsafe"
)

// Info is what an index is.
type Info struct {
	Generation    uint64 // number of the commit that is seen
	Rows          uint64
	Dim           int
	Metric        Metric
	Type          ElementType // of the stored vectors
	Segments      uint32
	CodeBytes     uint32 // of one row's code
	CodeBits      uint32 // of a code, a dimension
	FormatVersion uint32
	Flat          bool // no segment has a tree
	Links         bool // rows are linked, in one segment at least
	Mapped        bool // vectors are mapped, not read
	DiskBytes     uint64
	OpenTime      time.Duration
}

// Info says what the index is.
func (db *DB) Info() (Info, error) {
	if err := db.acquire(); err != nil {
		return Info{}, err
	}
	defer db.release()
	var info C.vdb_info_t
	info.struct_size = C.sizeof_vdb_info_t
	var cerr *C.vdb_error_t
	if status := C.vdb_info(db.handle, &info, &cerr); status != C.VDB_OK {
		return Info{}, newError(status, cerr)
	}
	return Info{
		Generation:    uint64(info.generation),
		Rows:          uint64(info.rows),
		Dim:           int(info.dim),
		Metric:        Metric(info.metric),
		Type:          ElementType(info._type),
		Segments:      uint32(info.segments),
		CodeBytes:     uint32(info.code_bytes),
		CodeBits:      uint32(info.code_bits),
		FormatVersion: uint32(info.format_version),
		Flat:          info.flat != 0,
		Links:         info.links != 0,
		Mapped:        info.mapped != 0,
		DiskBytes:     uint64(info.disk_bytes),
		OpenTime:      time.Duration(info.open_ns),
	}, nil
}

// Memory is what an open index takes, in bytes, by part.
type Memory struct {
	Limit       uint64 // in force now
	Total       uint64 // sum of the parts below, but for Mapped
	Peak        uint64 // no total since the open was higher
	Tree        uint64 // nodes and centroids
	Codes       uint64 // and their factors
	IDs         uint64
	Links       uint64
	SecondTier  uint64
	VectorCache uint64
	AnswerCache uint64
	Scratch     uint64 // working memory of searches, kept to be used again
	Other       uint64
	Mapped      uint64 // address space of mapped vectors, the page cache's memory
}

// Memory says what the index takes.
func (db *DB) Memory() (Memory, error) {
	if err := db.acquire(); err != nil {
		return Memory{}, err
	}
	defer db.release()
	var memory C.vdb_memory_t
	memory.struct_size = C.sizeof_vdb_memory_t
	var cerr *C.vdb_error_t
	if status := C.vdb_memory(db.handle, &memory, &cerr); status != C.VDB_OK {
		return Memory{}, newError(status, cerr)
	}
	return Memory{
		Limit:       uint64(memory.limit_bytes),
		Total:       uint64(memory.total_bytes),
		Peak:        uint64(memory.peak_bytes),
		Tree:        uint64(memory.tree_bytes),
		Codes:       uint64(memory.code_bytes),
		IDs:         uint64(memory.id_bytes),
		Links:       uint64(memory.link_bytes),
		SecondTier:  uint64(memory.second_tier_bytes),
		VectorCache: uint64(memory.vector_cache_bytes),
		AnswerCache: uint64(memory.answer_cache_bytes),
		Scratch:     uint64(memory.scratch_bytes),
		Other:       uint64(memory.other_bytes),
		Mapped:      uint64(memory.mapped_bytes),
	}, nil
}

// Get copies out the vector of a row, as floats. It fails with [ErrNotFound] if no row has this id.
func (db *DB) Get(id uint64) ([]float32, error) {
	vector := make([]float32, db.dim)
	if err := db.GetInto([]uint64{id}, vector, nil); err != nil {
		return nil, err
	}
	return vector, nil
}

// GetInto copies out the vectors of several rows, one after the other. found, as long as ids, becomes 1 or
// 0 for each; rows that are not found are all zero. Without found, nil, an id that is not there fails the
// call.
func (db *DB) GetInto(ids []uint64, out []float32, found []byte) error {
	if len(out) != len(ids)*db.dim {
		wanted := len(ids) * db.dim
		return invalid("out has room for %d floats, but %d rows have %d", len(out), len(ids), wanted)
	}
	if found != nil && len(found) != len(ids) {
		return invalid("found must be as long as ids, or nil")
	}
	if err := db.acquire(); err != nil {
		return err
	}
	defer db.release()
	var cerr *C.vdb_error_t
	status := C.vdb_get(db.handle, words(ids), C.size_t(len(ids)), C.size_t(db.dim), floats(out),
		(*C.uint8_t)(unsafe.SliceData(found)), &cerr)
	if status != C.VDB_OK {
		return newError(status, cerr)
	}
	return nil
}
